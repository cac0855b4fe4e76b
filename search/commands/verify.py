"""`spvit-search verify`: whether a study keeps what every study promises."""

from __future__ import annotations

from pathlib import Path

import click

from search.commands.options import epilog, existing_study, json_option, runs_dir_option, study_argument
from search.commands.output import emit
from search.verify.report import PROMISES, Finding, VerifyReport
from spvit.errors import ExitCode
from spvit.wording import first_of

MAX_SHOWN = 20
EPILOG = epilog("spvit-search verify demo", "usage", "storage", "violated")


@click.command("verify", epilog=EPILOG)
@study_argument
@click.option(
    "--same-front-as", "reference", metavar="STUDY", help="A study of the same experiment that nothing interrupted."
)
@runs_dir_option
@json_option
def command(study: str, reference: str | None, runs_dir: Path, *, as_json: bool) -> int:
    """Check a study: no trial lost, run twice or repeated, MLflow and exports agree, files whole, nothing left behind.

    Looks at the study's storage, its checkpoints, MLflow and its exports, and changes none of them. Ends with 12 where
    an invariant is violated. Also while the study is running; what cannot be checked then is said.
    """
    from search.study import read_study
    from search.verify import Expected, verify_study

    undisturbed = None if reference is None else read_study(existing_study(runs_dir, reference))
    report = verify_study(existing_study(runs_dir, study), Expected(undisturbed=undisturbed))
    emit(report.to_dict(), lambda: report_text(report), as_json=as_json)
    return int(ExitCode.OK if report.is_ok else ExitCode.VIOLATED)


def report_text(report: VerifyReport) -> str:
    """One line for each invariant, and below it where it is violated."""
    lines = [line for finding in report.findings for line in _lines(finding)]
    return "\n".join([f"study {report.study}, front {report.front_sha256[:12]}", *lines])


def _lines(finding: Finding) -> list[str]:
    note = f" ({finding.note})" if finding.note else ""
    shown = [f"      {line}" for line in first_of(finding.violations, MAX_SHOWN)]
    return [f"{finding.invariant}  {finding.outcome:<11}  {PROMISES[finding.invariant]}{note}", *shown]
