"""`preftune export` and `preftune push`: upload-ready folders of trained models, and the project's only upload."""

import fnmatch
import sys
from collections.abc import Sequence

from preftune.commands.audit import refuse_while_running
from preftune.errors import PreftuneError
from preftune.exports.folders import Folder, build_folder
from preftune.exports.models import Model, list_models, scale_of
from preftune.exports.scores import evaluations
from preftune.exports.sources import Sources
from preftune.exports.uploads import Remote, Uploader
from preftune.provenance.audit import Audit, audit_results, first_broken_link
from preftune.provenance.digest import ROOT
from preftune.provenance.origins import forget_leftovers
from preftune.provenance.record import describe_git
from preftune.provenance.records import Record
from preftune.provenance.store import Store, make_command
from preftune.workflow.config import did_you_mean
from preftune.workflow.plan import Plan


def export_models(plan: Plan, run: str, seed: int | None) -> None:
    """An upload-ready folder for each trained model whose run fits the glob `run`; prints them and the limits of their licences.

    Raises:
        PreftuneError: no model fits, or one cannot be uploaded as it is.
    """
    results = (ROOT / plan.config.results).resolve()
    refuse_while_running(results)
    store = Store.open(results, configfile=plan.source)
    known, evaluated = Sources(store), evaluations(store)
    for model in _find_models(store, run, seed):
        folder = build_folder(store, known, model, evaluated.get(model.output["path"], []))
        for limit in folder.limits:
            print(f"warning: {model.name}: {limit}", file=sys.stderr)
        print(f"{folder.path}  {len(folder.files)} files, {_size(sum(folder.files.values()))}")


def _find_models(store: Store, run: str, seed: int | None) -> list[Model]:
    models = list_models(store)
    found = [model for model in models if fnmatch.fnmatchcase(model.run, run)]
    if not found:
        if not models:
            raise PreftuneError(
                f"{store.folder} holds no trained model: make one first ({make_command(store.configfile)})."
            )
        raise PreftuneError(
            f"{store.folder} holds no trained model of a run {run}{did_you_mean(run, {model.run for model in models})}"
        )
    chosen = [model for model in found if seed is None or model.seed == f"seed-{seed}"]
    if not chosen:
        seeds = ", ".join(sorted(model.seed for model in found))
        raise PreftuneError(f"{store.folder} holds no seed {seed} of {run}, only {seeds}.")
    return chosen


def _find_one(store: Store, run: str, seed: int) -> Model:
    models = _find_models(store, run, seed)
    if len(models) > 1:
        names = ", ".join(f"{model.paper}/{model.run}" for model in models)
        raise PreftuneError(f"{run} names {names}: a push is of one model, give its run's whole name.")
    return models[0]


def push_model(
    plan: Plan,
    run: str,
    seed: int,
    repo: str,
    public: bool = False,
    confirmed: bool = False,
) -> None:
    """Upload one trained model to the hub, after an audit of all that it rests on and a person's word.

    Args:
        repo: OWNER/NAME.
        public: a new repository is for everybody; never for a model of rows that the project draws.
        confirmed: nobody is asked.

    Raises:
        PreftuneError: no token, no such model, a broken link, a repository of another model, no confirmation, or the hub's no.
    """
    uploader = Uploader(repo)
    results = (ROOT / plan.config.results).resolve()
    refuse_while_running(results)
    store = Store.open(results, configfile=plan.source)
    for leftover in forget_leftovers(store, plan):  # no audit looks at what belongs to no run now
        print(f"left out: {leftover.says}", file=sys.stderr)
    model = _find_one(store, run, seed)
    steps = evaluations(store).get(model.output["path"], [])
    _check_chain(store, audit_results(results, plan), [model.record, *steps])
    folder = build_folder(store, Sources(store), model, steps)
    remote = uploader.look()
    private = _decide(repo, remote, folder, public)
    print(_describe(repo, remote, folder, private), flush=True)
    _confirm(repo, confirmed)
    message = f"{model.name} of scale {scale_of(store)}, fingerprint {model.record.facts['fingerprint']}"
    print(f"uploaded: {uploader.upload(folder.path, private, message)}")


def _check_chain(store: Store, audit: Audit, records: Sequence[Record]) -> None:
    """Raise PreftuneError with the first thing that is wrong with what a model and its scores rest on."""
    for record in records:
        fault = first_broken_link(store, record, audit.faults)
        if fault is not None:
            raise PreftuneError(
                f"{records[0].made} is not uploaded: {fault.says} Repair: {fault.repair or 'make results'}"
            )
    chain = {one.made for one in store.upstream([record.made for record in records])}
    dirty = next((fault for fault in audit.faults if fault.unpublishable and fault.place in chain), None)
    if dirty is not None:
        raise PreftuneError(
            f"{records[0].made} is not uploaded: {dirty.says} Commit, then: {store.remake(dirty.place)}"
        )
    if describe_git()["dirty"] is not False:
        raise PreftuneError(
            "This checkout has uncommitted changes, or no git: commit them, so that the card is by code that everybody can read."
        )


def _decide(repo: str, remote: Remote, folder: Folder, public: bool) -> bool:
    """Whether the repository is, or will be, private.

    Raises:
        PreftuneError: it holds another model, or is open to everybody where that was not asked for or is not fitting.
    """
    made = str(folder.model.output["path"])
    if remote.files and remote.made != made:
        what = (
            f"the model {remote.made}"
            if remote.made
            else f"files that no push wrote ({remote.files[0]} first)"
        )
        raise PreftuneError(f"{repo} holds {what}, not {made}: give another repository.")
    seen = not remote.private if remote.exists else public
    if folder.demo and (seen or public):
        raise PreftuneError(
            f"{made} is a demo-scale model of rows that the project draws: it goes to a private repository only, so leave out "
            "PUBLIC=1, or make the repository private first."
        )
    if seen and not public:
        raise PreftuneError(
            f"{repo} is open to everybody: add PUBLIC=1 if that is meant, or make it private first."
        )
    return not seen


def _describe(repo: str, remote: Remote, folder: Folder, private: bool) -> str:
    """What would be uploaded, where to, and under which terms."""
    files = folder.files
    gone = sorted(set(remote.files) - set(files))
    state = f"{'there already' if remote.exists else 'new'}, {'private' if private else 'open to everybody'}"
    lines = [
        f"folder:     {folder.path}",
        *(f"    {_size(size):>9}  {name}" for name, size in files.items()),
        f"in all:     {len(files)} files, {_size(sum(files.values()))}",
        f"repository: {repo} ({state})",
        *([f"deletes:    {', '.join(gone)}"] if gone else []),
        f"licence:    {folder.licence}",
        *(f"warning:    {limit}" for limit in folder.limits),
    ]
    return "\n".join(lines)


def _size(count: float) -> str:
    """Bytes in the unit that fits."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} GB"


def _confirm(repo: str, confirmed: bool) -> None:
    """Raise PreftuneError unless a person types the repository's name, or has said so beforehand."""
    if confirmed:
        return
    if not sys.stdin.isatty():
        raise PreftuneError(
            "Nothing was uploaded: there is no terminal to ask at. Push from one, or add YES=1 (--yes) if that is meant."
        )
    if input("Type the repository's name to upload: ").strip() != repo:
        raise PreftuneError(f"Nothing was uploaded: that is not {repo}.")
