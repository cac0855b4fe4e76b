"""The loss of an elastic step: the schedule that was drawn for it and, in some steps, the unpruned model beside it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from spvit.pruned_model import PrunedModel, PrunedOutput
from spvit.schedule import PruningSchedule
from trainers.config import ElasticConfig, ElasticTeacher, LossWeights, TrialConfig
from trainers.loss import Criterion, LossTerms, TrainingStep
from trainers.sampling import Purpose, stream
from trainers.schedule_sampler import ScheduleSampler
from trainers.teacher import TeacherOutput
from trainers.workers import WorkerGroup

DENSE = PruningSchedule()
DENSE_TERM = "dense_classification"


@dataclass(frozen=True, kw_only=True, slots=True)
class StepPlan:
    """What a step trains: a schedule and, where `is_sandwich`, the unpruned model too."""

    schedule: PruningSchedule
    is_sandwich: bool


class StepPlans:
    """What each step trains: a function of seed, epoch and step, and so the same on every worker and after a restart.

    Args:
        sampler: of schedules.
        seed: of the trial.
        sandwich_share: of the steps; within an epoch these are spread evenly, from a beginning of its own.
    """

    def __init__(self, sampler: ScheduleSampler, *, seed: int, sandwich_share: float) -> None:
        self._sampler, self._seed, self._share = sampler, seed, sandwich_share

    def at(self, epoch: int, step: int) -> StepPlan:
        """The plan of a step of an epoch, both counted from 0."""
        begun = float(stream(self._seed, Purpose.SANDWICH, epoch).random())
        return StepPlan(
            schedule=self._sampler.draw(stream(self._seed, Purpose.SCHEDULE, epoch, step)),
            is_sandwich=int(begun + (step + 1) * self._share) > int(begun + step * self._share),
        )


def elastic_losses(losses: LossWeights, elastic: ElasticConfig) -> LossWeights:
    """The terms of a drawn schedule.

    Two of a trial's terms are left out: counts are exact without the ratio term, and no selector's margins can mean
    the keep rates of all schedules at once; the latency term pulls at one schedule's counts. Margins are set to a
    schedule's when it is specialised.
    """
    share = elastic.drawn_classification
    return losses.model_copy(update={"ratio": 0.0, "latency": 0.0, "classification": share * losses.classification})


class ElasticStep(TrainingStep):
    """One model on one batch under the schedule of the step; see `TrainingStep`.

    Args:
        student: has a selector wherever a drawn schedule drops tokens.
        teacher: the unpruned model as it was, or nothing where the teacher is the student's own unpruned form.
        config: of the trial; `elastic` is there.
        plans: what each step trains.
        workers: the processes that train together.
    """

    leaves_some_unused = True

    def __init__(
        self,
        student: PrunedModel,
        teacher: nn.Module,
        config: TrialConfig,
        plans: StepPlans,
        workers: WorkerGroup | None = None,
    ) -> None:
        assert config.elastic is not None  # noqa: S101 - who builds this step has seen it
        terms = elastic_losses(config.losses, config.elastic)
        smoothing = config.training.label_smoothing
        super().__init__(student, teacher, Criterion(terms, label_smoothing=smoothing, workers=workers), config)
        self._smoothing, self._dense_weight = smoothing, config.losses.classification
        self._is_own_teacher = config.elastic.teacher is ElasticTeacher.DENSE and config.losses.needs_teacher
        self._plans, self._plan = plans, plans.at(0, 0)

    def begin(self, epoch: int, step: int) -> None:
        """See `TrainingStep.begin`."""
        self._plan = self._plans.at(epoch, step)

    def forward(self, images: Tensor, targets: Tensor, temperature: float = 1.0) -> LossTerms:
        """Loss of images (B, C, H, W) with labels (B,) or soft targets (B, classes).

        The term of the unpruned model is 0 in steps that do not train it, in the sum as in the report.
        """
        frozen = self.leading_tokens(images)
        tokens = self.student.leading_tokens(images) if frozen is None else frozen
        dense = self._dense(images, tokens)
        taught = _as_teacher(dense) if self._is_own_teacher else self.teacher(images, frozen)
        output = self.run_student(self.student.at(self._plan.schedule), images, tokens, temperature)
        drawn: LossTerms = self.criterion(output, taught, targets)
        return self._with_dense(drawn, dense, targets)

    def _dense(self, images: Tensor, tokens: Tensor) -> PrunedOutput | None:
        """The unpruned model on the leading tokens, with a graph where it is to learn; None where nobody asks."""
        is_learning = self._plan.is_sandwich
        if not (is_learning or self._is_own_teacher):
            return None
        with torch.set_grad_enabled(is_learning and torch.is_grad_enabled()):
            return self.student.at(DENSE).run(images, leading_tokens=tokens, with_patches=self.criterion.reads_patches)

    def _with_dense(self, drawn: LossTerms, dense: PrunedOutput | None, targets: Tensor) -> LossTerms:
        if dense is None or not self._plan.is_sandwich:
            return LossTerms(total=drawn.total, terms=drawn.terms | {DENSE_TERM: torch.zeros_like(drawn.total)})
        loss = F.cross_entropy(dense.logits.float(), targets, label_smoothing=self._smoothing)
        return LossTerms(total=drawn.total + self._dense_weight * loss, terms=drawn.terms | {DENSE_TERM: loss})


def _as_teacher(dense: PrunedOutput | None) -> TeacherOutput | None:
    if dense is None or dense.patch_tokens is None:
        return None
    return TeacherOutput(logits=dense.logits.detach(), patch_tokens=dense.patch_tokens.detach())
