"""Tests of the closed lists of words: what is listed once is what the modules take."""

from pathlib import Path
from typing import get_args

from didgen.manifests.choices import (
    CaptionBackend,
    ChatBackend,
    Config,
    Engine,
    ExportForm,
    Part,
    Split,
)
from didgen.manifests.exports.sound_run import TARGETS
from didgen.manifests.shards.shard import shard_path
from didgen.manifests.sources.records import SPLITS


def test_each_list_is_written_once() -> None:
    assert get_args(Split) == SPLITS == ("train", "val", "test")
    assert get_args(ExportForm) == TARGETS == ("imagefolder", "parquet", "nnunet")
    assert get_args(Config) == ("images", "pairs")
    assert get_args(Part) == ("held-out", "train", "val", "test")
    assert get_args(Engine) == ("local", "ray")


def test_whoever_chats_can_caption() -> None:
    assert {*get_args(ChatBackend)} < {*get_args(CaptionBackend)}


def test_every_config_names_the_folder_of_its_shards(tmp_path: Path) -> None:
    for config in get_args(Config):
        assert shard_path(tmp_path, config, 0).parent == tmp_path / config
