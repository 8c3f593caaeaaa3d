"""What can be known before the first job is submitted: partitions, account, and whether any node can give what steps ask."""

import getpass
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from preftune.cluster import slurm
from preftune.cluster.site import Site, scratch_folder, site_file
from preftune.errors import PreftuneError
from preftune.provenance.digest import ROOT

_INFINITE = 10**9


@dataclass(frozen=True)
class Nodes:
    """The most that one node of a partition has: memory in MB, CPUs, GRES as SLURM writes it; the time limit in minutes."""

    memory: int
    cpus: int
    gres: str
    minutes: int


def read_partitions() -> dict[str, Nodes]:
    """The partitions of this cluster by name.

    Raises:
        PreftuneError: SLURM does not answer.
    """
    try:
        lines = slurm.ask("sinfo", "--noheader", "--exact", "--format=%R|%m|%c|%l|%G").splitlines()
    except slurm.SilentError as error:
        raise PreftuneError(
            f"SLURM does not answer ({error}): call this on a login node of the cluster, or try again later."
        ) from error
    found: dict[str, Nodes] = {}
    for line in lines:
        name, memory, cpus, limit, gres = line.split("|")
        before = found.get(name, Nodes(0, 0, "", 0))
        found[name] = Nodes(
            max(before.memory, _number(memory)), max(before.cpus, _number(cpus)), f"{before.gres},{gres}", _minutes(limit)
        )  # fmt: skip
    return found


def check_site(site: Site, partitions: Mapping[str, Nodes]) -> None:
    """Raise PreftuneError where the site's file names what this cluster does not have."""
    name = _site_name()
    for kind, partition in (("cpu", site.partitions.cpu), ("gpu", site.partitions.gpu)):
        if partition not in partitions:
            raise PreftuneError(
                f"{name}: partitions.{kind} is {partition}, which this cluster does not have: choose one of "
                f"{', '.join(sorted(partitions))}."
            )
    accounts = _accounts()
    if site.account is not None and accounts and site.account.lower() not in accounts:
        raise PreftuneError(
            f"{name}: account is {site.account}, which you may not use: choose one of {', '.join(sorted(accounts))}."
        )


def check_jobs(site: Site, partitions: Mapping[str, Nodes], jobs: Iterable[Any]) -> None:
    """Raise PreftuneError where a step asks for what no node of its partition has, which would wait for ever."""
    for job in jobs:
        name = f"the group {job.name}" if job.is_group() else job.rule.name
        change = f"set-resources of {'its steps' if job.is_group() else name} in slurm/config.yaml"
        asked = job.resources
        gpus = asked.get("gpu") or 0
        partition = asked.get("slurm_partition") or (site.partitions.gpu if gpus else site.partitions.cpu)
        if partition not in partitions:
            raise PreftuneError(
                f"{name} asks for the partition {partition}, which this cluster does not have: choose one of "
                f"{', '.join(sorted(partitions))} (set-resources in slurm/config.yaml)."
            )
        nodes = partitions[partition]
        for what, wanted, most, remedy in (
            ("MB of memory (mem_mb)", asked.get("mem_mb") or 0, nodes.memory, f"{change}; memory that was doubled after it ran "
             f"out is forgotten with {scratch_folder()}/out-of-memory/"),
            ("minutes (runtime)", asked.get("runtime") or 0, nodes.minutes,
             f"{change}; trainings continue from their checkpoint in as many jobs as it takes"),
            ("CPUs (threads)", job.threads, nodes.cpus, "`threads` in the config"),
            (f"GPUs{f' {site.gpu_model}' if site.gpu_model else ''} (gpu)", gpus, _gpus(nodes.gres, site.gpu_model),
             f"`gpus` in the config, or correct gpu_model in {_site_name()}"),
        ):  # fmt: skip
            if wanted > most:
                raise PreftuneError(
                    f"{name} asks for {wanted} {what}, the partition {partition} gives at most {most}: choose another partition "
                    f"in {_site_name()}, or lower it: {remedy}."
                )


def _site_name() -> str:
    path = site_file()
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def _accounts() -> set[str]:
    """Accounts of this user, lower case; none where the cluster keeps none or does not say."""
    words = ("--noheader", "--parsable2", "list", "assoc", f"user={getpass.getuser()}", "format=account")
    try:
        return {line.strip().lower() for line in slurm.ask("sacctmgr", *words).splitlines() if line.strip()}
    except slurm.SilentError:
        return set()


def _number(text: str) -> int:
    """`64000+` is what sinfo writes where nodes differ."""
    return int(text.rstrip("+"))


def _minutes(limit: str) -> int:
    """A time limit as sinfo writes it: 2:00:00, 1-00:00:00, infinite."""
    if not limit[:1].isdigit():
        return _INFINITE
    days, _, clock = limit.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    hours, minutes = (parts[0], parts[1]) if len(parts) == 3 else (0, parts[0])
    return 1440 * int(days or 0) + 60 * hours + minutes


def _gpus(gres: str, model: str | None) -> int:
    """GPUs of one node: `gpu:4`, `gpu:a100:4(S:0-1)`."""
    found = re.findall(r"gpu(?::([^:,()]+))?:(\d+)", gres)
    return max((int(count) for name, count in found if model is None or name == model), default=0)
