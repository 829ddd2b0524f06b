"""Carried over: what an older manifest has of the same images, their captions and drawn masks."""

from collections.abc import Iterable

from didgen.manifests.sources.records import SourceRecord


def with_captions(
    records: Iterable[SourceRecord], captioned: Iterable[SourceRecord]
) -> tuple[SourceRecord, ...]:
    """The records with the captions that others have for the same image, mask and label.

    A mask that no person drew is kept too, where the image has no other.
    """
    others = {record.key: record for record in captioned}
    kept = []
    for record in records:
        was = others.get(record.key)
        if was is not None and was.mask_by and record.mask is None and was.sha256 == record.sha256:
            fields = ("mask", "mask_sha256", "mask_by")
            record = record.model_copy(update={name: getattr(was, name) for name in fields})
        if was is not None and _same(was, record):
            fields = ("caption", "caption_by", "caption_fallback")
            record = record.model_copy(update={name: getattr(was, name) for name in fields})
        kept.append(record)
    return tuple(kept)


def _same(was: SourceRecord, record: SourceRecord) -> bool:
    """Whether what was said of an image is still true of it."""
    fields = ["sha256", "mask", "label", "mask_orientation", "mask_inverted"]
    # An older manifest does not know what its masks were.
    fields += ["mask_sha256"] if was.mask_sha256 else []
    return all(getattr(was, name) == getattr(record, name) for name in fields)
