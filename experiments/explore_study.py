"""A study from Python, cell by cell: open it in an editor that knows `# %%`, or run it whole.

Needs nothing: without the study `demo` in `runs` it searches first, which takes some minutes.
"""

# %% The study
from pathlib import Path

from search import launch, load_study
from spvit.errors import UsageError

HERE = Path(__file__).parent

try:
    study = load_study("demo")
except UsageError:
    study = launch(HERE / "demo.toml", runs_dir="runs")
summary = study.summary()
print(f"{study.name}: {summary.num_counted} trials, budget {summary.max_latency_ms:.1f} ms, {study.directory}")

# %% The front
for trial in study.front():
    speed_up = summary.dense_latency_ms / trial.latency.mean_ms
    print(
        f"trial {trial.number:>3}: {trial.top1:.2f} % at {trial.latency.mean_ms:.1f} ms, {speed_up:.2f} times as fast"
    )

# %% What to take: the most accurate within the budget, unless the images cannot tell a faster one from it
choice = study.choose(max_latency_ms=summary.max_latency_ms)
print(f"{choice.wish}: trial {choice.best.number}; take trial {choice.trial.number}")
for equal in choice.equals:
    print(f"  equal within the noise: trial {equal.trial.number}, {equal.difference.to_text()}")

# %% The same image by image, which tells more trials apart (needs the checkpoints, seconds for each trial)
if study.show(choice.best.number).checkpoints:
    choice = study.choose(max_latency_ms=summary.max_latency_ms, evaluate=True)
    print(f"image by image: take trial {choice.trial.number} of {len(choice.equals) + 1} that are equal")

# %% One trial
detail = study.show(choice.trial.number)
for stage in detail.stages:
    print(f"from block {stage.block} on {stage.num_kept} patches, {stage.keep_rate:.3f} of all")
print("top-1 after each epoch:", " ".join(f"{top1:.2f}" for top1 in detail.curve))

# %% Two trials
fastest, *_, most_accurate = study.front()
if fastest.number != most_accurate.number:
    pair = study.compare(fastest.number, most_accurate.number)
    print("they differ in", ", ".join(difference.key for difference in pair.differences))
    print(f"latency {pair.latency.ratio:.2f} ({pair.latency.low:.2f} to {pair.latency.high:.2f}) times")

# %% As a table
print(study.frame()[["number", "state", "top1", "latency_ms", "speed_up"]].to_string(index=False))

# %% Take it home
if detail.checkpoints and not (study.directory / "export" / "explored").exists():
    report = study.export(study.directory / "export" / "explored", trial=choice.trial.number)
    print(report.to_text())
