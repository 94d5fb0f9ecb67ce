"""Distances between what a student and a teacher show: pure functions of logits or features.

All of them take **logits**, never probabilities, and return one number, a mean over the batch.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from torchedge.distillation.checks import require_batch, require_logits, require_temperature
from torchedge.errors import DistillationError

__all__ = [
    "attention_map",
    "attention_transfer_loss",
    "binary_hinton_loss",
    "decoupled_loss",
    "hint_loss",
    "hinton_loss",
    "rkd_angle_loss",
    "rkd_distance_loss",
]


def hinton_loss(
    student_logits: Float[Tensor, "batch classes *positions"],
    teacher_logits: Float[Tensor, "batch classes *positions"],
    temperature: float,
) -> Float[Tensor, ""]:
    """KL divergence of softened outputs; its gradient does not shrink with the temperature.

    ``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, mean over the batch and over the
    positions of dense outputs (Hinton et al. 2015, section 2).

    Args:
        student_logits: Classes along the second axis; pixels or anchors behind it.
        teacher_logits: Likewise.
        temperature: Above 0; larger ones show more of what the teacher holds for similar.

    Raises:
        DistillationError: The temperature is not above 0, or probabilities were given for logits.

    Example:
        >>> teacher = torch.tensor([[0.585, 0.237, 0.178]]).log() * 5
        >>> student = torch.tensor([[0.55, 0.30, 0.15]]).log() * 5
        >>> round(float(hinton_loss(student, teacher, temperature=5.0)), 5)
        0.26722
    """
    require_temperature(temperature)
    require_logits(student_logits, "student")
    require_logits(teacher_logits, "teacher")
    student = F.log_softmax(student_logits / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="none", log_target=True).sum(1)
    return temperature**2 * divergence.mean()


def binary_hinton_loss(
    student_logits: Float[Tensor, "*shape"],
    teacher_logits: Float[Tensor, "*shape"],
    temperature: float,
) -> Float[Tensor, ""]:
    """Hinton's loss where every output is a yes or no of its own: binary and multi-label networks.

    ``T² · KL(Bernoulli(sigmoid(teacher / T)) ‖ Bernoulli(sigmoid(student / T)))``, mean over all
    outputs.

    Args:
        student_logits: Any shape; what a sigmoid would be applied to.
        teacher_logits: The same shape.
        temperature: Above 0.

    Raises:
        DistillationError: The temperature is not above 0.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0]])
        >>> float(binary_hinton_loss(logits, logits, temperature=4.0))
        0.0
    """
    require_temperature(temperature)
    student, teacher = student_logits / temperature, teacher_logits / temperature
    yes, no = torch.sigmoid(teacher), torch.sigmoid(-teacher)
    divergence = yes * (F.logsigmoid(teacher) - F.logsigmoid(student))
    divergence = divergence + no * (F.logsigmoid(-teacher) - F.logsigmoid(-student))
    return temperature**2 * divergence.mean()


def decoupled_loss(
    student_logits: Float[Tensor, "batch classes"],
    teacher_logits: Float[Tensor, "batch classes"],
    labels: Int[Tensor, " batch"],
    temperature: float,
    *,
    target_weight: float = 1.0,
    other_weight: float = 8.0,
) -> Float[Tensor, ""]:
    """Hinton's loss in two parts with weights of their own: the right class, and the others.

    ``T² · (α · KL(b_teacher ‖ b_student) + β · KL(others_teacher ‖ others_student))``, where ``b``
    is the pair (right class, all others) and ``others`` are the probabilities among the wrong
    classes (Zhao et al. 2022, section 3). With ``β = 1 - softmax(teacher / T)[label]`` for each
    sample and ``α = 1`` it is Hinton's.

    Args:
        student_logits: One row a sample.
        teacher_logits: Likewise.
        labels: Right class of each sample.
        temperature: Above 0.
        target_weight: The paper's α.
        other_weight: The paper's β.

    Raises:
        DistillationError: The temperature is not above 0, or probabilities were given for logits.

    Example:
        >>> logits = torch.tensor([[2.0, -1.0, 0.5]])
        >>> float(decoupled_loss(logits, logits, torch.tensor([0]), 4.0))
        0.0
    """
    require_temperature(temperature)
    require_logits(student_logits, "student")
    require_logits(teacher_logits, "teacher")
    right = F.one_hot(labels, student_logits.shape[1]).bool()
    student, teacher = student_logits / temperature, teacher_logits / temperature
    pairs = _kl(_right_or_not(student, right), _right_or_not(teacher, right))
    others = _kl(_among_others(student, right), _among_others(teacher, right))
    return temperature**2 * (target_weight * pairs + other_weight * others)


def _kl(student: Tensor, teacher: Tensor) -> Tensor:
    """Of rows of log-probabilities."""
    return F.kl_div(student, teacher, reduction="batchmean", log_target=True)


def _right_or_not(logits: Tensor, right: Tensor) -> Tensor:
    """Log-probabilities of the right class and of all others together; batch x 2."""
    chosen = logits[right]
    others = logits.masked_fill(right, -torch.inf).logsumexp(1)
    return F.log_softmax(torch.stack([chosen, others], 1), dim=1)


def _among_others(logits: Tensor, right: Tensor) -> Tensor:
    """Log-probabilities of the wrong classes among themselves; batch x (classes - 1)."""
    return F.log_softmax(logits[~right].view(len(logits), -1), dim=1)


def hint_loss(
    student: Float[Tensor, " batch *s"], teacher: Float[Tensor, " batch *s"]
) -> Float[Tensor, ""]:
    """Half the squared distance of two feature maps of one shape.

    ``½ · (student - teacher)²`` (Romero et al. 2015, equation 3), mean over all elements, so that
    its weight need not change with the size of the map. A regressor that makes the shapes equal
    is part of :class:`~torchedge.distillation.feature_modules.FitNet`.

    Example:
        >>> float(hint_loss(torch.zeros(2, 3), torch.full((2, 3), 2.0)))
        2.0
    """
    return 0.5 * F.mse_loss(student, teacher)


def rkd_distance_loss(
    student: Float[Tensor, "batch ds"], teacher: Float[Tensor, "batch dt"]
) -> Float[Tensor, ""]:
    """How differently two embeddings place the samples of a batch: their distances in pairs.

    Each distance is divided by the mean of all pairs of its own embedding; Huber loss between the
    two, mean over pairs (Park et al. 2019, section 3.2.1). Neither scale nor rotation of an
    embedding matters, nor do the widths agree. Takes O(batch²) memory.

    Raises:
        DistillationError: There are fewer than two samples.

    Example:
        >>> points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [6.0, 8.0]])
        >>> float(rkd_distance_loss(points, 10 * points))
        0.0
    """
    require_batch(len(student), 2, "distances in pairs")
    return F.smooth_l1_loss(_relative_distances(student), _relative_distances(teacher))


def _relative_distances(points: Tensor) -> Tensor:
    """Of each pair, in units of the mean; all zero where all points are equal."""
    distances = F.pdist(points)
    mean = distances.mean()
    return distances / torch.where(mean > 0, mean, 1)


def rkd_angle_loss(
    student: Float[Tensor, "batch ds"], teacher: Float[Tensor, "batch dt"]
) -> Float[Tensor, ""]:
    """How differently two embeddings place the samples of a batch: the angles of their triples.

    Huber loss between the cosines of the angle at ``j`` for all triples of different samples
    ``i, j, k``, mean over triples (Park et al. 2019, section 3.2.2). Takes O(batch³) memory: 64
    samples are a megabyte, 256 are 67.

    Raises:
        DistillationError: There are fewer than three samples.

    Example:
        >>> corner = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])
        >>> float(rkd_angle_loss(corner, 10 * corner))
        0.0
    """
    require_batch(len(student), 3, "angles of triples")
    places = torch.arange(len(student), device=student.device)
    at, first, second = places[:, None, None], places[:, None], places
    triples = (first < second) & (first != at) & (second != at)
    return F.smooth_l1_loss(_cosines(student)[triples], _cosines(teacher)[triples])


def _cosines(points: Tensor) -> Tensor:
    """Of the angle at the first index between the other two; zero where two points are equal."""
    differences = points[None] - points[:, None]
    lengths = torch.linalg.vector_norm(differences, dim=2, keepdim=True)
    directions = differences / torch.where(lengths > 0, lengths, 1)
    return directions @ directions.transpose(1, 2)


def attention_map(
    features: Float[Tensor, "batch channels *positions"],
) -> Float[Tensor, "batch all_positions"]:
    """Where a feature map is large: squares summed over channels, each sample of length one.

    Example:
        >>> attention_map(torch.tensor([[[3.0, 0.0], [0.0, 2.0]]])).mul(97**0.5).round().tolist()
        [[9.0, 4.0]]
    """
    return F.normalize(features.square().sum(1).flatten(1), dim=1)


def attention_transfer_loss(
    student: Float[Tensor, "batch cs *student_positions"],
    teacher: Float[Tensor, "batch ct *teacher_positions"],
) -> Float[Tensor, ""]:
    """Whether two networks look at the same places; their channels may differ in number.

    ``‖ Q_s/‖Q_s‖ - Q_t/‖Q_t‖ ‖`` with ``Q = Σ_c A_c²`` (Zagoruyko & Komodakis 2017, section 3.1),
    mean over the batch.

    Raises:
        DistillationError: The maps have other positions; pool the larger one first.

    Example:
        >>> features = torch.rand(2, 4, 5, 5)
        >>> float(attention_transfer_loss(features, 3 * features)) < 1e-6
        True
    """
    if student.shape[2:] != teacher.shape[2:]:
        raise DistillationError(
            f"the student's map has positions {tuple(student.shape[2:])}, the teacher's "
            f"{tuple(teacher.shape[2:])}; pool the larger one, as the term AttentionTransfer does."
        )
    difference = attention_map(student) - attention_map(teacher)
    lengths: Tensor = torch.linalg.vector_norm(difference, dim=1)
    return lengths.mean()
