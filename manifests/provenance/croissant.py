"""Croissant metadata: a set's shards and their records as JSON-LD for data set search and loaders.

Notable choices:
- A record of the shards is its members joined by their key, one join a record set: loaders do not
  do more than that, so each record set takes in the one before it.
"""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from didgen.manifests.choices import Config
from didgen.manifests.provenance.dataset_card import TITLES, kind_of
from didgen.manifests.provenance.licence import strictest

if TYPE_CHECKING:
    from didgen.manifests.shards.index import Manifest, ShardEntry

CROISSANT_NAME = "croissant.json"
VERSION = "http://mlcommons.org/croissant/1.0"

_CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}

# Member: media type, name of its field, type of its field, and what it is.
_MEMBERS: dict[str, tuple[str, str, str, str]] = {
    "json": ("application/json", "record", "sc:Text", "all that is known of the sample, as JSON"),
    "cls": ("text/plain", "label", "sc:Integer", "index of the class"),
    "mask.png": ("image/png", "mask", "sc:ImageObject", "lesion mask, 255 on the lesion"),
    "jpg": ("image/jpeg", "image", "sc:ImageObject", "dermoscopic image"),
}
_CHAINS: dict[Config, tuple[str, ...]] = {
    "images": ("json", "cls", "jpg"),
    "pairs": ("json", "mask.png", "jpg"),
}


def croissant(manifest: "Manifest") -> str:
    """The Croissant 1.0 description of a finished run's shards, as JSON text.

    Its record sets `images` and `pairs` give key, image, label or mask, and the record of each
    sample. The same run always gives the same text.
    """
    licence = strictest(manifest.made_from)
    distribution: list[dict[str, Any]] = []
    record_sets = [_classes(manifest.classes)] if manifest.classes else []
    for config, shards in manifest.configs.items():
        distribution += [_tar(config, entry) for entry in shards]
        distribution += [_members(config, member, shards) for member in _CHAINS[config]]
        record_sets += _records(config)
    value = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": f"didgen-{manifest.fingerprint[:12]}",
        "description": f"{TITLES[kind_of(manifest)]}. Not for diagnosis. {licence.sentence}",
        "license": licence.name,
        "version": "1.0.0",
        "citeAs": "Shentu, Watson, Al Moubayed: DiDGen, MICCAI 2025",
        "keywords": ["dermoscopy", "synthetic data", "segmentation", "classification"],
        "distribution": distribution,
        "recordSet": record_sets,
    }
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def _tar(config: Config, entry: "ShardEntry") -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": entry.file,
        "name": entry.file,
        "contentUrl": f"{config}/{entry.file}",
        "contentSize": f"{entry.bytes} B",
        "encodingFormat": "application/x-tar",
        "sha256": entry.sha256,
    }


def _members(config: Config, member: str, shards: "Sequence[ShardEntry]") -> dict[str, Any]:
    return {
        "@type": "cr:FileSet",
        "@id": f"{config}-{member}",
        "name": f"{config}-{member}",
        "containedIn": [{"@id": entry.file} for entry in shards],
        "encodingFormat": _MEMBERS[member][0],
        "includes": f"*.{member}",
    }


def _records(config: Config) -> list[dict[str, Any]]:
    """The record sets of a config: one a member, each with the fields of the one before."""
    found: list[dict[str, Any]] = []
    for member in _CHAINS[config]:
        _, field, kind, meaning = _MEMBERS[member]
        name = config if member == "jpg" else f"{config}-{field}"
        files = {"fileSet": {"@id": f"{config}-{member}"}}
        key = {
            "source": files
            | {"extract": {"fileProperty": "filename"}, "transform": {"regex": "^([^.]+)"}}
        }
        fields = [
            _field(f"{name}/key", "sc:Text", "name of the sample") | key,
            _field(f"{name}/{field}", kind, meaning)
            | {"source": files | {"extract": {"fileProperty": "content"}}},
        ]
        if found:
            before = found[-1]["@id"]
            fields[0]["references"] = {"field": {"@id": f"{before}/key"}}
            for taken in found[-1]["field"][1:]:
                own = taken["@id"].replace(before, name, 1)
                fields.append(
                    _field(own, taken["dataType"], taken["description"])
                    | {"source": {"field": {"@id": taken["@id"]}}}
                )
        found.append(
            {
                "@type": "cr:RecordSet",
                "@id": name,
                "name": name,
                "key": {"@id": f"{name}/key"},
                "field": fields,
            }
        )
    return found


def _classes(classes: Sequence[str]) -> dict[str, Any]:
    """The names behind the class indices."""
    return {
        "@type": "cr:RecordSet",
        "@id": "classes",
        "name": "classes",
        "dataType": "sc:Enumeration",
        "key": {"@id": "classes/index"},
        "field": [
            _field("classes/index", "sc:Integer", "index of the class"),
            _field("classes/name", "sc:Text", "name of the class"),
        ],
        "data": [
            {"classes/index": index, "classes/name": name} for index, name in enumerate(classes)
        ],
    }


def _field(name: str, kind: str, meaning: str) -> dict[str, Any]:
    return {
        "@type": "cr:Field",
        "@id": name,
        "name": name.split("/")[1],
        "dataType": kind,
        "description": meaning,
    }
