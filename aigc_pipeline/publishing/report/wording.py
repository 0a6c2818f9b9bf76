"""Plain words for codes: what a manager reads instead of `class_quota`. No number is computed here."""

from collections.abc import Callable

from aigc_pipeline.records import Outcome

QUOTA = "class_quota"
"""The reason that says nothing against a sample: its class was already full."""

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
    QUOTA: ("class full", "good, but its class was already full"),
}
_ARMS = {
    "real_and_classic": "real + classic variations",
    "class_weights": "real + class weights",
    "balanced_softmax": "real + balanced softmax",
}
_WITH_SYNTHETIC = "_and_synthetic"
_MINUS, _DASH = "\N{MINUS SIGN}", "\N{EN DASH}"

METRICS: dict[str, tuple[str, str]] = {
    "frechet_distance": ("Fréchet distance", "lower is better"),
    "precision": ("Precision", "share of samples that fall among real ones; higher is better"),
    "recall": ("Recall", "share of real samples that are reached; higher is better"),
    "density": ("Density", "how crowded by real samples they lie; near 1 is best"),
    "coverage": ("Coverage", "share of real samples with a sample near by; higher is better"),
}
"""Fidelity metric to (title, how to read it). All are measured in the judge encoder's features."""

GLOSSARY: tuple[tuple[str, str], ...] = (
    ("Candidate", "A synthetic sample before any check. Those that pass every check are accepted."),
    (
        "Critic",
        "A model that tells real samples from synthetic ones. It was fitted on real data that the generator never saw.",
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
    ("Baseline", "The best training without synthetic samples, fixed before the test samples were looked at."),
    (
        "Uplift",
        "Balanced accuracy (the mean of the accuracies of all classes) with synthetic samples, minus that of the baseline. A point is one percent of accuracy.",
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
    if name.endswith(_WITH_SYNTHETIC):
        return f"{arm_words(name.removesuffix(_WITH_SYNTHETIC))} + synthetic"
    return _ARMS.get(name, name.replace("_", " "))


def has_synthetic(arm: str) -> bool:
    """Say whether an arm trains on synthetic samples."""
    return arm.endswith(_WITH_SYNTHETIC)


def points(share: float) -> str:
    """Return a difference of shares in signed points: 0.031 -> `+3.1`."""
    return f"{100 * share:+.1f}".replace("-", _MINUS)


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
    """Return a number with so many decimals, so that a column of them lines up."""
    return f"{value:,.{digits}f}".replace("-", _MINUS)


def count(value: float | None) -> str:
    """Return a whole number with thousands separators; a dash for None."""
    return _DASH if value is None else f"{int(value):,}"


FILTERS: dict[str, Callable[..., str]] = {
    "points": points,
    "percent": percent,
    "number": number,
    "count": count,
    "arm": arm_words,
    "reason": reason_words,
    "as_sentence": as_sentence,
    "fixed": fixed,
}
"""How templates format."""
