"""What to do where nothing can be fetched: which files to place by hand, where, and which keys of the config say so."""

from preftune.settings.sources import DatasetSource, Source


def place_by_hand(source: Source) -> str:
    """The end of a sentence about a source that cannot be had."""
    if isinstance(source, DatasetSource):
        files = ", ".join(sorted(set(source.files.values())))
        what = f"{files} (.parquet and .jsonl will do as well)" if ".jsonl" in files else files
        return (
            f"place {what or 'its files'} below a folder by hand and give that as data_root, with local_datasets: [{source.name}] "
            "in the config (docs/data.md, Sources)"
        )
    if source.kind == "urls":
        return "fetch it in a checkout that has a network (fetch_prompts), and copy that one's resources/prompts/ here"
    return (
        f"place its files in a folder by hand and write source: {{kind: local, path: FOLDER}} for {source.name} in "
        "config/models.yaml (docs/data.md, Sources)"
    )
