"""`repro score`: judge scores of other tools by the actual changes, and say what is wrong with them."""

import math
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from diagnosis.limits import FOLLOWS, PEARSON
from erm.files import write_atomically, write_json
from plots.agreement import Agreement
from plots.leave_one_out import draw_leave_one_out
from plots.style import save
from repro.configuration.files import groups, is_name
from repro.configuration.mistakes import no_run
from repro.errors import UsageError
from repro.folder.manifest import write_result
from repro.folder.opening import open_run
from repro.folder.paths import RunFolder
from repro.listener import Listener
from repro.notices import warn
from repro.records.scores import COLUMNS, FileFindings, read_scores_found, same_truth
from repro.score_truth import default_truth, truth_at
from score.formats.reading import AUTO, LAYOUTS, read_scores
from score.interval import signed
from score.measures import Measures
from score.predicted import ScoresError
from score.score import Score, score_scores
from score.truth import Truth


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One file's score."""

    name: str
    file: Path
    score: Score

    @property
    def findings(self) -> list[str]:
        """What is wrong with the scores, a line each, and how they agree once mended; or that nothing is."""
        score, r = self.score, self.score.pearson.value
        if score.faults:
            after = next(iter(score.mended.values()))
            return [
                *(f"{fault.name}: {fault.words}" for fault in score.faults),
                f"so mended, r {signed(r, '.4f')} → {signed(after.pearson.value, '.4f')}, "
                f"slope {signed(score.slope.value, '.4g')} → {signed(after.slope.value, '.4g')}",
            ]
        if score.too_few_points:
            points = sum(measures.points for measures in score.measures.values())
            return [f"too few points ({points:,}) to name a fault"]
        if r >= PEARSON:
            return ["nothing is wrong with the scores that a simple change would mend"]
        shown = "undefined" if math.isnan(r) else signed(r, ".4f")
        how = "follow the changes only roughly" if r >= FOLLOWS else "do not follow the changes"
        return [f"no simple change mends the scores, and they {how}: r {shown}"]


@dataclass(frozen=True, kw_only=True)
class ScoredFiles:
    """All that were judged by one truth, and what was written."""

    scored: list[Scored]
    against: Path
    into: Path | None
    written: list[Path]
    before: list[str]
    """Names of the scores that earlier commands judged, which stand in the files too."""


def score_files(
    files: list[Path], against: Path | None, tool: str, into: Path | None, listener: Listener
) -> ScoredFiles:
    """Judge files of scores.

    Writes score.json, score.csv and plots/score into the run folder, or beside the first file. What earlier
    commands found of other files by the same truth stays in the first two.

    Args:
        against: a run folder, or a file of `repro ground-truth`; None for `into`, or else the run folder of
            the default configuration.
        tool: whose layout the files have; "auto" for what they say themselves.
        into: a run folder in which the scores become methods like any other.

    Raises:
        UsageError: a file cannot be read or cannot be compared with this truth; nothing is written then.
        StageError: the run folder has no leave-one-out models.
    """
    if tool not in (AUTO, *LAYOUTS):
        raise UsageError(f"--format {tool}: expected {AUTO} or one of {', '.join(sorted(LAYOUTS))}")
    names = _names(files, for_methods=into is not None)
    against = against or into or default_truth()
    with ExitStack() as stack:
        for folder in _run_folders(against, into):
            stack.enter_context(open_run(folder))
        truth = truth_at(against)
        scored = [
            Scored(name=name, file=file, score=_score(file, tool, truth))
            for name, file in zip(names, files, strict=True)
        ]
        written, before = _write(scored, against, files[0])
        if into is not None:
            # It brings torch along, which judging alone does not need.
            from repro.external_method import write_external

            for one in scored:
                write_external(RunFolder(into), one.name, one.file, one.score)
    found = ScoredFiles(scored=scored, against=against, into=into, written=written, before=before)
    listener.result(found)
    return found


def _run_folders(against: Path, into: Path | None) -> list[RunFolder]:
    """Those that are written into, each once."""
    if into is not None and not (into / "checksums.json").exists():
        raise UsageError(f"--into {no_run(into, 'checksums.json')}")
    wanted = [path for path in (against, into) if path is not None and path.is_dir()]
    return [RunFolder(path) for path in dict.fromkeys(wanted) if RunFolder(path).manifest.exists()]


def _names(files: list[Path], for_methods: bool) -> list[str]:
    """What the files are called in tables and figures: their names without suffix, where those differ."""
    stems = [file.stem for file in files]
    names = stems if len(set(stems)) == len(stems) else [file.name for file in files]
    if len(set(names)) < len(names):
        names = [str(file) for file in files]
    if for_methods:
        for name in names:
            if not is_name(name) or "/" in name or name in groups()["influence"]:
                raise UsageError(
                    f"--into: {name} cannot name a method: another has the name, or it does not begin with a "
                    "letter. Rename the file"
                )
    return names


def _score(file: Path, tool: str, truth: Truth) -> Score:
    try:
        return score_scores(read_scores(file, tool), truth)
    except FileNotFoundError as error:
        raise UsageError(f"{file}: no such file") from error
    except (ScoresError, MemoryError) as error:
        raise UsageError(f"{file} {error}") from error


def _write(scored: list[Scored], against: Path, first: Path) -> tuple[list[Path], list[str]]:
    """Write score.json, score.csv and the figure: these, and the names of the scores of before in them."""
    folder = RunFolder(against) if against.is_dir() else None
    record, rows_file, picture = (first.parent / f"score.{suffix}" for suffix in ("json", "csv", "png"))
    if folder is not None:
        record, rows_file, picture = folder.score, folder.score_table, folder.figure("png", "score")
    table = pd.concat([one.score.pairs.assign(scores=one.name) for one in scored])[list(COLUMNS)]
    before, rows = _found_before(
        record, rows_file, against, {one.name: str(one.file) for one in scored}, table
    )
    found = before | {one.name: FileFindings(file=str(one.file), findings=one.score) for one in scored}
    content = {"against": str(against), "scores": {name: one.as_json() for name, one in found.items()}}
    table = pd.concat([rows, table]) if before else table
    figure = draw_leave_one_out(*_drawn(scored), selection=None)
    write = write_atomically if folder is None else partial(write_result, folder)
    # The table first: score.json vouches for it.
    write(rows_file, lambda path: table.to_csv(path, index=False))
    write(record, lambda path: write_json(path, content))
    write(picture, lambda path: save(figure, path))
    return [record, rows_file, picture], list(before)


def _found_before(
    record: Path, rows_file: Path, against: Path, files: dict[str, str], table: pd.DataFrame
) -> tuple[dict[str, FileFindings], pd.DataFrame]:
    """What earlier commands found of other files by the same truth; of the same name only the last counts."""
    try:
        found, rows = read_scores_found(record, rows_file)
    except FileNotFoundError:
        return {}, table[:0]
    except (OSError, ValueError) as error:
        warn(f"{record} is not as this tool writes it, so that it begins anew: {error}")
        return {}, table[:0]
    if not same_truth(rows, table):
        warn(f"{record} was of other actual changes than those of {against}, so that it begins anew")
        return {}, table[:0]
    for name in files.keys() & found.keys():
        if found[name].file != files[name]:
            warn(f"{name} of {found[name].file} was judged before; that of {files[name]} takes its place")
    kept = {name: one for name, one in found.items() if name not in files}
    return kept, rows[rows["scores"].isin(list(kept))]


def _drawn(
    scored: list[Scored],
) -> tuple[pd.DataFrame, dict[tuple[str, int], Agreement], dict[str, str]]:
    """Table, statistics and titles of the figure: the scores as they are, and mended beside them."""
    parts: list[pd.DataFrame] = []
    titles: dict[str, str] = {}
    agreements: dict[tuple[str, int], Agreement] = {}
    for one in scored:
        shown = {"": ("predicted_change", one.score.measures)}
        if one.score.faults:
            shown[" mended"] = ("mended_change", one.score.mended)
        for word, (column, measures) in shown.items():
            name = one.name + word
            rows = one.score.pairs.assign(method=name, predicted_stderr=0.0)
            parts.append(rows.assign(predicted_change=rows[column]).dropna(subset=["predicted_change"]))
            titles[name] = one.name + (f", mended: {', '.join(one.score.fault_names)}" if word else "")
            agreements |= {(name, target): _agreement(found) for target, found in measures.items()}
    return pd.concat(parts, ignore_index=True), agreements, titles


def _agreement(found: Measures) -> Agreement:
    """The same figures without their intervals."""
    names = ("pearson", "spearman", "slope", "intercept", "max_abs_error")
    return Agreement(**{name: getattr(found, name).value for name in names}, points=found.points)
