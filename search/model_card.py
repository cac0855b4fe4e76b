"""The text that an exported model is accompanied by. Pure."""

from __future__ import annotations

from search.certificate import Certificate
from search.export_report import ExportReport

CARD = """# {study}, trial {trial}

A vision transformer with soft token pruning (SPViT), found by spvit-search.

    import spvit
    model = spvit.load_exported("path/of/this/folder")   # images in, logits out

Images are prepared as `config.json` says under `input`; `class_names` are there too. `config.toml` fine-tunes the same
schedule again: `spvit-search fine-tune config.toml`.

## Measured when it was exported

| model | val top-1 (%) | test top-1 (%) | time over dense (90 % interval) | speed-up |
|---|---|---|---|---|
{rows}

* keep rates {keep_rates}, {num_parameters:,} parameters
* predicted by the latency table{target}: {predicted.mean_ms:.3f} ms ({predicted.low_ms:.3f} to {predicted.high_ms:.3f})
* measured{not_target}: {measured.p50_ms:.3f} ms (95 % of runs within {measured.p95_ms:.3f} ms)
* budget {budget_text}: **{verdict}** (dense model{target}: {dense_ms:.3f} ms)
* one batch of {batch_size} images in {dtype}, run by {runtime}, {num_threads} CPU threads, device {device}
* run {form} (every image keeps the same number of tokens), trained {training_form}
* SHA-256 of the weights: `{weights_sha256}`
* {created_at}
"""


def model_card(report: ExportReport) -> str:
    """The README of an export."""
    values = {name: getattr(report, name) for name in report.__slots__ if name != "models"}
    rates = ", ".join(f"{rate:.3g}" for rate in report.keep_rates) or "none (dense)"
    rows = "\n".join(_row(name, certificate) for name, certificate in report.models.items())
    return CARD.format(
        **values | {"keep_rates": rates},
        rows=rows,
        measured=report.measured,
        form=report.measured.form,
        budget_text=report.budget_text,
        target="" if report.is_on_target else f" for {report.target_text}",
        not_target="" if report.is_on_target else f" on {report.here_text}, which is not the target",
    )


def _row(name: str, certificate: Certificate) -> str:
    val, test = (_percent(value) for value in (certificate.val_top1, certificate.test_top1))
    interval = f"{certificate.ratio:.3f} ({certificate.ratio_low:.3f} to {certificate.ratio_high:.3f})"
    return f"| {name} | {val} | {test} | {interval} | {certificate.speed_up:.2f} |"


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"
