"""How the judge is fitted, and how bad it may be before it is no longer trusted."""

from typing import Self

from pydantic import Field, model_validator

from aigc_pipeline.core.strict import Settings
from aigc_pipeline.scorers.calibrators import AnyCalibrator, Platt
from aigc_pipeline.scorers.health import Limits


class JudgeSettings(Settings):
    """How the judge is fitted and when it is trusted."""

    min_calibration: int = Field(default=60, ge=10)
    """Fewer calibration samples than this in the classes that it judges, and the critic is cross-fitted on train and
    calibration together. It then does without D's logit, which means nothing on samples that D was trained on, and separates
    worse."""
    min_reals: int = Field(default=50, ge=10)
    """Fewer reals than this in all of these classes, and there is no critic; candidates are gated by label and distance
    alone."""
    pilot_per_class: int = Field(default=200, ge=20)
    """Fresh fakes per class that freeze the acceptance constants."""
    copy_quantile: float = Field(default=0.01, gt=0, lt=0.5)
    """Quantile of hold-out distances under which a candidate counts as a copy."""
    calibrator: AnyCalibrator = Platt()
    """How raw critic scores become probabilities."""
    class_shrinkage: float | None = Field(default=None, gt=0)
    """Calibrate each class by itself, shrunk towards all classes together: at so many reals its own counts half. None:
    all classes together."""
    min_auc: float = Field(default=0.53, ge=0.5, lt=1)
    """Below it the critic cannot tell generated from real, and filtering by probability is skipped as pointless."""
    max_auc: float = Field(default=0.95, gt=0.5, le=1)
    """Above it real and generated samples hardly overlap: the generator is not ready, and no ratio can be trusted."""
    max_z: float = Field(default=3.0, gt=0)
    """Largest |Z| on unseen data that still counts as calibrated."""
    max_log_mean_ratio: float = Field(default=0.7, gt=0)
    """Largest |log E_q[r]|; 0 for a calibrated ratio with full coverage."""
    min_effective_share: float = Field(default=0.1, gt=0, lt=1)
    """Smallest effective sample size of the ratio, as a share of the fakes."""
    max_excess_ece: float = Field(default=0.05, gt=0)
    """Largest calibration error beyond chance, in probability."""

    @model_validator(mode="after")
    def _auc_has_room(self) -> Self:
        if self.min_auc >= self.max_auc:
            msg = f"min_auc is {self.min_auc:g} and max_auc {self.max_auc:g}: no critic lies between. min_auc must be lower"
            raise ValueError(msg)
        return self

    def limits(self) -> Limits:
        """Return what still counts as healthy."""
        return Limits(
            self.min_auc,
            self.max_auc,
            self.max_z,
            self.max_excess_ece,
            self.max_log_mean_ratio,
            self.min_effective_share,
        )
