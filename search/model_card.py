"""The text that an exported model is accompanied by. Pure."""

from __future__ import annotations

from latency_tables.ratio import CONFIDENCE
from search.certificate import Certificate
from search.export_report import ExportReport
from search.format_certificate import FormatCertificate
from search.formats import ExportFormat

CARD = """# {study}, trial {trial}

A vision transformer with soft token pruning (SPViT), found by spvit-search.

    import spvit
    model = spvit.load("path/of/this/folder")   # images (B, C, H, W) in, logits (B, classes) out

{ways}
Images are prepared as `config.json` says under `input`; `labels.txt` has the classes in the order of the logits.
`config.toml` fine-tunes the same schedule again: `spvit-search fine-tune config.toml`. `spvit-search check FOLDER`
measures all of this anew, anywhere, and says line by line whether it still holds.

## Measured when it was exported

| model | val top-1 (%) | test top-1 (%) | time over dense (90 % interval) | speed-up |
|---|---|---|---|---|
{rows}

{files}* keep rates {keep_rates}, {num_parameters:,} parameters
* predicted by the latency table{target}: {predicted.mean_ms:.3f} ms ({predicted.low_ms:.3f} to {predicted.high_ms:.3f})
* measured{not_target}: {measured.p50_ms:.3f} ms (95 % of runs within {measured.p95_ms:.3f} ms)
* budget {budget_text}: **{verdict}** (dense model{target}: {dense_ms:.3f} ms)
* one batch of {batch_size} images in {dtype}, run by {runtime}, {num_threads} CPU threads, device {device}
* run {form} (every image keeps the same number of tokens), trained {training_form}
* intervals hold with a confidence of {confidence:.0%}; a speed-up within its interval is not claimed
* SHA-256 of the weights: `{weights_sha256}`; of every other file, data, code and table: `certificate.json`
* {environment}
* {created_at}
"""


WAYS = {
    ExportFormat.SAFETENSORS: """    import spvit.timm_hub, timm                 # the same through timm
    model = timm.create_model("local-dir:path/of/this/folder", pretrained=True).eval()
""",
    ExportFormat.ONNX: """    import onnxruntime                          # needs nothing of spvit-search
    session = onnxruntime.InferenceSession("model.onnx")
    [logits] = session.run(None, {"images": images})   # float32, any number of images
""",
    ExportFormat.TORCH_EXPORT: """    import torch                                # needs nothing of spvit-search
    model = torch.export.load("model.pt2").module()
""",
}
FILES = """| file | run by | val top-1 (%) | logits within | time of a batch, interval | beside dense | budget |
|---|---|---|---|---|---|---|
"""


def model_card(report: ExportReport) -> str:
    """The README of an export."""
    values = {name: getattr(report, name) for name in report.__slots__ if name != "models"}
    rates = ", ".join(f"{rate:.3g}" for rate in report.keep_rates) or "none (dense)"
    rows = "\n".join(_row(name, certificate) for name, certificate in report.models.items())
    return CARD.format(
        **values | {"keep_rates": rates, "environment": ", ".join(_versions(report))},
        rows=rows,
        ways="\n".join(WAYS[certificate.format] for certificate in report.formats),
        files=_files(report),
        confidence=CONFIDENCE,
        measured=report.measured,
        form=report.measured.form,
        budget_text=report.budget_text,
        target="" if report.is_on_target else f" for {report.target_text}",
        not_target="" if report.is_on_target else f" on {report.here_text}, which is not the target",
    )


def _row(name: str, certificate: Certificate) -> str:
    val, test = (_percent(value) for value in (certificate.val_top1, certificate.test_top1))
    interval = f"{certificate.ratio:.3f} ({certificate.ratio_low:.3f} to {certificate.ratio_high:.3f})"
    speed_up = f"{certificate.speed_up:.2f}" if certificate.is_faster else "within the noise"
    return f"| {name} | {val} | {test} | {interval} | {speed_up} |"


def _files(report: ExportReport) -> str:
    if not report.formats:
        return ""
    rows = "".join(f"{_file_row(report, certificate)}\n" for certificate in report.formats)
    return f"{FILES}{rows}\n"


def _file_row(report: ExportReport, certificate: FormatCertificate) -> str:
    timing = certificate.timing
    cells = (
        f"`{certificate.format.file}`",
        certificate.runtime,
        f"{certificate.val_top1:.2f}",
        f"{certificate.max_difference:.1e}",
        timing.elapsed_text,
        timing.speed_up_text,
        str(report.format_verdict(certificate)),
    )
    return f"| {' | '.join(cells)} |"


def _versions(report: ExportReport) -> list[str]:
    return [f"{name} {version}" for name, version in report.environment.items() if version]


def _percent(value: float | None) -> str:
    return "not known" if value is None else f"{value:.2f}"
