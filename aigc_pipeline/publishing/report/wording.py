"""Plain words for codes: what a manager reads instead of `class_quota`. No number is computed here."""

from collections.abc import Callable

from aigc_pipeline.core.samples import Mix
from aigc_pipeline.records import Outcome

SURPLUS = "class_quota"
"""The reason that says nothing against a sample: its class was already full."""
STARVED = "starved"
"""How `metrics.fairness` begins a warning that the filter refuses too many of a group."""
COMMAND = "your_command"
"""The arm of the user's own training, as `metrics.command` names it. Its synthetic rows have a weight and no batch."""
FID_ENCODER = "inception_v3_pool3"
"""The only feature space in which a Frechet distance is the FID."""

_OUTCOMES: dict[Outcome | None, str] = {
    "helps": "Helps",
    "harms": "Harms",
    "does_not_help": "Does not help",
    "not_enough_evidence": "Not enough evidence",
    None: "Nothing to test",
}
_REASONS: dict[str, tuple[str, str]] = {
    "label_agreement": ("another class", "the label referee reads another class"),
    "not_memorised": ("near copy", "a near copy of a training sample"),
    "distinct": ("near twin", "a near twin of an earlier candidate"),
    "rejection_sampling": ("not drawn", "not drawn: the less real it looks, the smaller its chance"),
    "min_p_real": ("p_real too low", "p_real below the limit"),
    "in_distribution": ("unlike any real", "unlike any real sample"),
    "metropolis_hastings": ("chain moved on", "not drawn: its chain moved on to a more real-looking one"),
    "top_share": ("not in the top", "not among the most real-looking of its class"),
    "class_quota": ("class full", "good, but its class was already full"),
}
_ARMS = {
    "real": "real samples, unvaried",
    "real_and_classic": "real + classic variations",
    "class_weights": "real + class weights",
    "balanced_resampling": "real + balanced resampling",
    "balanced_softmax": "real + balanced softmax",
    "smote": "real + SMOTE",
    COMMAND: "your own training",
}
_WITH_SYNTHETIC = "_and_synthetic"
_WITH_COPIES = "_and_copies"
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"

METRICS: dict[str, tuple[str, str]] = {
    "frechet_distance": ("Fréchet distance", "lower is better"),
    "frechet_z": (
        "Fréchet distance, in deviations",
        "how many standard deviations above real against real; within 2 is as good as real",
    ),
    "kid": ("KID", "kernel distance, cubic kernel; 0 is best, and a little below 0 is chance"),
    "mmd_rbf": (
        "MMD², Gaussian kernel",
        "width: the median distance of reals; 0 is best, and a little below 0 is chance",
    ),
    "precision": ("Precision", "share of samples that fall among real ones; higher is better"),
    "recall": ("Recall", "share of real samples that are reached; higher is better"),
    "density": ("Density", "how crowded by real samples they lie; near 1 is best"),
    "coverage": ("Coverage", "share of real samples with a sample near by; higher is better"),
    "vendi": ("Vendi score", "how many entirely different samples they are worth; compare with real"),
    "classifier_score": (
        "Classifier score",
        "how sure and how varied the label referee's readings are; compare with real",
    ),
    "authenticity": (
        "Authenticity",
        "share of samples further from their nearest training sample than that one's own neighbor is; compare with real",
    ),
}
"""Fidelity metric to (title, how to read it). All but the classifier score are measured in the judge encoder's features."""
HEADLINE_METRICS = ("frechet_distance", "precision", "recall", "coverage")
"""Those that are shown at once; the others are folded."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Candidate", "A synthetic sample before any check. Those that pass every check are accepted."),
    (
        "Critic",
        "A model that tells real samples from synthetic ones. It was fitted on real data that the generator never saw, and on training data as well where that was too little.",
    ),
    (
        "p_real",
        "The critic's probability that a sample is real, when as many real as synthetic ones are shown. 0.5 means: it cannot tell.",
    ),
    ("Calibrated", "The probability means what it says: of the samples that get 0.7, about 70 % are real."),
    (
        "Near copy",
        "A synthetic sample closer to a training sample than unseen real samples are. It is refused. This screens for copies; it proves no anonymity.",
    ),
    (
        "Baseline",
        "The training without synthetic samples that did best on selection samples, or the default where these are too few; fixed before the test samples were looked at.",
    ),
    (
        "Uplift",
        "Balanced accuracy (the mean of the accuracies of all classes) with synthetic samples, minus that of the baseline. A point is one percent of accuracy.",
    ),
    ("Dose", "Share of synthetic samples in a training batch. Their loss weight is how much each counts."),
    (
        "Plain copies",
        "The control: the same training with as many copies of real samples instead. What helps beyond it is not repetition.",
    ),
    (
        "Interval",
        "Where the true value lies, as far as the random seeds and the limited number of test samples allow us to say.",
    ),
)
"""The words a reader needs, in the order of the page."""


def outcome_words(outcome: Outcome | None) -> str:
    """Return the verdict in one to three words."""
    return _OUTCOMES[outcome]


def reason_words(reason: str) -> str:
    """Return why a candidate was refused."""
    return _REASONS[reason][1] if reason in _REASONS else reason.replace("_", " ")


def short_reason(reason: str) -> str:
    """Return why a candidate was refused, in three words at most."""
    return _REASONS[reason][0] if reason in _REASONS else reason.replace("_", " ")


def as_sentence(phrase: str) -> str:
    """Return a phrase with a capital and a full stop; a leading setting such as `publish.when` keeps its case."""
    first = phrase.split(" ", 1)[0]
    text = phrase if "." in first or "_" in first else phrase[:1].upper() + phrase[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def arm_words(name: str) -> str:
    """Return what a downstream model was trained on."""
    for suffix, words in ((_WITH_SYNTHETIC, "synthetic"), (_WITH_COPIES, "plain copies")):
        if name.endswith(suffix):
            return f"{arm_words(name.removesuffix(suffix))} + {words}"
    return _ARMS.get(name, name.replace("_", " "))


def metric_words(name: str, encoder: str) -> tuple[str, str, str]:
    """Return a fidelity metric's title, where it is measured, and how to read it. FID is named in its own space alone."""
    title, reading = METRICS[name]
    if encoder == FID_ENCODER and name.startswith("frechet"):
        title = title.replace("Fréchet distance", "FID")
    return title, "by the label referee" if name == "classifier_score" else f"in {encoder} features", reading


def mix_words(mix: Mix) -> str:
    """Return which synthetic samples a mix takes."""
    return {"generated": "generated", "classic": "varied real", "both": "generated and varied real"}[mix]


def has_synthetic(arm: str) -> bool:
    """Say whether an arm trains on synthetic samples."""
    return arm.endswith(_WITH_SYNTHETIC)


def points(share: float) -> str:
    """Return a difference of shares in signed points: 0.031 -> `+3.1`; a rounded zero is never negative."""
    return f"{round(100 * share, 1) + 0.0:+.1f}".replace("-", _MINUS)


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as percent; a dash for None."""
    return _DASH if share is None else f"{100 * share:.{digits}f}\u00a0%"


def number(value: float | None, digits: int = 3) -> str:
    """Return a number with so many significant digits, without an exponent where it is of a usual size."""
    if value is None:
        return _DASH
    plain = 1e-4 <= abs(value) < 1e6 or value == 0
    return (f"{float(f'{value:.{digits}g}'):,.10g}" if plain else f"{value:.{digits}g}").replace("-", _MINUS)


def fixed(value: float, digits: int = 1) -> str:
    """Return a number with so many decimals, so that a column of them lines up; a rounded zero is never negative."""
    return f"{round(value, digits) + 0.0:,.{digits}f}".replace("-", _MINUS)


def count(value: float | None) -> str:
    """Return a whole number with thousands separators; a dash for None."""
    return _DASH if value is None else f"{int(value):,}"


FILTERS: dict[str, Callable[..., str]] = {
    "points": points,
    "percent": percent,
    "number": number,
    "count": count,
    "arm": arm_words,
    "mix": mix_words,
    "reason": reason_words,
    "as_sentence": as_sentence,
    "fixed": fixed,
}
"""How templates format."""
