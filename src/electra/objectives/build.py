"""The objectives by name: each a frozen description that builds one composition.

An objective differs from the one that it inherits from in what its class says: a field's default, the head, or one
term. Most train one composition from the first step to the last; the others override ``stages``.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Annotated, ClassVar, Literal, TypeVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from electra.config_types import ByKind, dataclasses_of, kind_of
from electra.errors import UserError
from electra.model.config import ClassicConfig, EncoderConfig, generator_config
from electra.model.embeddings import (
    DisentangledEmbeddings,
    Embeddings,
    OwnEmbeddings,
    SharedEmbeddings,
    build_embeddings,
)
from electra.model.encoder import Tower
from electra.objectives.contrast import SequenceContrast
from electra.objectives.copying import AllTokens, Correction
from electra.objectives.corrupt import Generate
from electra.objectives.generators import FixedDistribution, Generator, MaskedGenerator, TwoTowers
from electra.objectives.masking import Mask, WholeWords, WithReplacement
from electra.objectives.pretrainer import Pretrainer
from electra.objectives.terms import Detection, NoiseContrast, Recovery, Reinforce, Term
from electra.ranges import CountOrZero, Fraction, FractionAboveZero, FractionBelowOne, NotNegative, Positive

AnyObjective = TypeVar("AnyObjective", bound="Masked")

Sharing = Literal["shared", "own", "disentangled"]
Filling = Literal["masked", "two-tower", "uniform", "unigram"]
Positions = Literal["all", "chosen"]
SHARING: dict[str, type[SharedEmbeddings | OwnEmbeddings | DisentangledEmbeddings]] = {
    "shared": SharedEmbeddings,
    "own": OwnEmbeddings,
    "disentangled": DisentangledEmbeddings,
}


@dataclass(frozen=True)
class CorpusFacts:
    """What an objective may need to know of the data. ``begins``: the tokens that begin a word; ``frequencies``: how
    often each token occurs; both over the vocabulary, and computed only when called."""

    mask_id: int
    begins: Callable[[], Bool[Tensor, " vocab"]] | None = None
    frequencies: Callable[[], Float[Tensor, " vocab"]] | None = None


@dataclass(frozen=True)
class Masked:
    """What all objectives have: which tokens are chosen."""

    mask_rate: FractionAboveZero = 0.15  # 0.25 for Large
    mask_rate_end: Fraction = 0.0  # 0: the same throughout; else in a straight line to this
    replace_rate: Fraction = 0.85  # of the chosen; the others stay as they are in the generator's input
    choose: Literal["tokens", "whole-words", "with-replacement"] = "tokens"  # the last: the original code's draws

    keeps_first_encoder: ClassVar[bool] = False  # a run ends with the encoder that its first stage made, too

    @property
    def stages(self) -> "Stages":
        """(share of the operations, objective), one after another; each begins with the weights of the one before."""
        return ((1.0, self),)  # type: ignore[return-value]

    @property
    def most_first_flops(self) -> float:
        """The most operations that the first stage takes, however long the run is."""
        return math.inf

    def mask(self, corpus: CorpusFacts) -> Mask:
        """The module that chooses the positions."""
        numbers = corpus.mask_id, self.mask_rate, self.replace_rate, self.mask_rate_end
        if self.choose == "whole-words":
            return WholeWords(require_fact(corpus.begins, "where words begin"), *numbers)
        return (WithReplacement if self.choose == "with-replacement" else Mask)(*numbers)


@dataclass(frozen=True)
class Mlm(Masked):
    """Masked language modelling (BERT): the encoder itself recovers the tokens at masked positions.

    ``width`` and ``depth``: of the model that is trained so, as fractions of the encoder's: a generator to be.
    """

    kind: str = "mlm"
    width: Positive = 1.0
    depth: Positive = 1.0

    def build(self, encoder: EncoderConfig, corpus: CorpusFacts, seed: int) -> Pretrainer:
        """A pre-trainer with fresh weights."""
        encoder = narrow_embeddings(generator_config(encoder, self.width, self.depth), encoder)
        return Pretrainer(
            self.mask(corpus), Tower.token(encoder, build_embeddings(encoder)), {"generator": Recovery()}, seed
        )


@dataclass(frozen=True)
class Generated(Masked):
    """What the objectives with a generator have in common; ``head`` and ``terms`` are what they differ in."""

    generator: Filling = "masked"
    generator_width: Positive = 0.25  # table 6; 1/3 for Base. A fraction of the encoder's hidden size
    generator_depth: Positive = 1.0  # a fraction of the encoder's layers
    generator_weight: NotNegative = 1.0
    generator_rate: NotNegative = 1.0  # its learning rate, as a fraction of the encoder's
    generator_dropout: bool = True
    generator_frozen: bool = False
    temperature: Positive = 1.0
    temperature_end: NotNegative = 0.0  # 0: the same throughout; else by equal factors to this
    never_original: bool = False  # a sample is never the original token
    embeddings: Sharing = "shared"
    shared_layers: CountOrZero = 0  # the lowest layers of both towers that are one; all of them: everything is tied
    clip: Literal["together", "apart"] = "together"  # gradients by the norm of all, or each tower's by its own

    def build(self, encoder: EncoderConfig, corpus: CorpusFacts, seed: int) -> Pretrainer:
        """A pre-trainer with fresh weights. Raises ``UserError`` for towers that cannot share what they should."""
        if self.generator_frozen and (self.embeddings == "shared" or self.shared_layers):
            raise UserError("a frozen generator cannot share what learns: embeddings own, and shared_layers 0")
        small = self.small(encoder)
        sharing = SHARING[self.embeddings](encoder, small)
        kept = self.head(encoder, sharing.discriminator)
        corrupt = Generate(
            self.mask(corpus), self.filler(small, encoder.vocab_size, sharing.generator, kept, corpus),
            self.temperature, self.temperature_end, self.never_original, self.generator_frozen, self.scored,
        )  # fmt: skip
        rates = {"generator": self.generator_rate}
        return Pretrainer(corrupt, kept, self.terms(encoder, small), seed, rates, self.clip == "apart")

    @property
    def scored(self) -> bool:
        """Whether a term needs to know how likely the samples were."""
        return False

    def small(self, encoder: EncoderConfig) -> EncoderConfig:
        """The generator's config."""
        small = generator_config(encoder, self.generator_width, self.generator_depth)
        if self.embeddings == "own":
            small = narrow_embeddings(small, encoder)
        return small if self.generator_dropout else replace(small, dropout=0.0, attention_dropout=0.0)

    def filler(
        self, small: EncoderConfig, vocab: int, embeddings: Embeddings, kept: Tower, corpus: CorpusFacts
    ) -> Generator:
        """The module that fills the chosen positions."""
        if self.generator == "two-tower":
            return TwoTowers(small, embeddings, Recovery(self.generator_weight, "words"))
        recovery = Recovery(self.generator_weight)
        if self.generator == "uniform":
            return FixedDistribution(torch.zeros(vocab), recovery)
        if self.generator == "unigram":
            return FixedDistribution(
                require_fact(corpus.frequencies, "how often each token comes").clamp(min=1e-9).log(), recovery
            )
        tower = Tower.token(small, embeddings)
        if self.shared_layers:
            tower.share_layers(kept, self.shared_layers)
        return MaskedGenerator(tower, recovery)

    def head(self, encoder: EncoderConfig, embeddings: Embeddings) -> Tower:
        """The encoder that is kept, with its head."""
        return Tower.detection(encoder, embeddings)

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """The terms of the kept encoder's loss, by the name that their figures have."""
        raise NotImplementedError


@dataclass(frozen=True)
class Electra(Generated):
    """Replaced token detection: a small generator fills masked positions, the encoder tells which were replaced."""

    kind: str = "electra"
    detection_weight: NotNegative = 50.0
    detection_on: Positions = "all"

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Detection of replaced tokens."""
        return {"discriminator": Detection(self.detection_weight, self.detection_on)}


@dataclass(frozen=True)
class Electra15(Electra):
    """ELECTRA 15 %: only the chosen positions count (section 3.4)."""

    kind: str = "electra-15"
    detection_on: Positions = "chosen"


@dataclass(frozen=True)
class ReplaceMlm(Generated):
    """Replace MLM: masked language modelling of text where samples stand in place of [MASK] (section 3.4)."""

    kind: str = "replace-mlm"

    def head(self, encoder: EncoderConfig, embeddings: Embeddings) -> Tower:
        """An encoder that predicts tokens."""
        return Tower.token(encoder, embeddings)

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Recovery of the originals at the chosen positions."""
        return {"encoder": Recovery()}


@dataclass(frozen=True)
class AllTokensMlm(ReplaceMlm):
    """All-tokens MLM: Replace MLM over every token, where a gate copies those that were not replaced (section 3.4)."""

    kind: str = "all-tokens-mlm"

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Recovery of every token, with a gate."""
        return {"encoder": AllTokens(encoder.hidden_size)}


@dataclass(frozen=True)
class Adversarial(Electra):
    """Adversarial ELECTRA: the generator is rewarded where the discriminator errs (section 3.3, appendix F).

    ``generator_weight`` 0: it learns from the rewards alone.
    """

    kind: str = "adversarial"
    generator_weight: NotNegative = 0.0
    reward_weight: NotNegative = 1.0

    @property
    def scored(self) -> bool:
        """True: the policy's gradient needs log q of the samples."""
        return True

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Detection, and the generator's reward. Raises ``UserError`` for positions that are drawn several times: what
        is written there is no sample, and has no probability to be rewarded by."""
        if self.choose == "with-replacement":
            raise UserError(
                "adversarial rewards each sample, so every position is drawn once: choose tokens or whole-words, "
                "without --compat google"
            )
        return super().terms(encoder, small) | {"adversary": Reinforce(small.hidden_size, self.reward_weight)}


@dataclass(frozen=True)
class TwoStage(Electra):
    """Two-stage ELECTRA: first a generator as large as the encoder, alone; then an encoder that begins with its
    weights, and the generator learns no more (section 3.3)."""

    kind: str = "two-stage"
    generator_width: Positive = 1.0
    generator_frozen: bool = True
    embeddings: Sharing = "own"
    first: FractionBelowOne = 0.5  # share of the operations before the discriminator begins

    @property
    def stages(self) -> "Stages":
        """Masked language modelling of a model of the generator's shape, then this objective."""
        return begin_with_mlm(self.first, self, self.generator_width, self.generator_depth)


@dataclass(frozen=True)
class FastElectra(TwoStage):
    """Fast-ELECTRA: a small generator that was trained before, frozen, its temperature decaying (Dong et al., 2023).

    ``first`` 0 takes the generator that --init brings.
    """

    kind: str = "fast-electra"
    generator_width: Positive = 0.25
    temperature: Positive = 2.0
    temperature_end: NotNegative = 1.0
    first: FractionBelowOne = 0.2


@dataclass(frozen=True)
class WarmedElectra(Electra):
    """ELECTRA whose encoder is first trained by masked language modelling: that encoder is kept as it was then, and a
    copy of it learns to detect."""

    kind: str = "warmed-electra"
    first: FractionBelowOne = 0.25  # share of the operations with masked language modelling
    first_flops: NotNegative = 0.0  # at most so many operations of it, however long the run is; 0: no limit
    keeps_first_encoder: ClassVar[bool] = True

    @property
    def stages(self) -> "Stages":
        """Masked language modelling of the encoder, then this objective."""
        return begin_with_mlm(self.first, self, 1.0, 1.0)

    @property
    def most_first_flops(self) -> float:
        """``first_flops``, if it is set and there is a first stage."""
        return self.first_flops if self.first_flops and self.first else math.inf


@dataclass(frozen=True)
class Electric(Generated):
    """Electric: the encoder gives each token an energy, by noise contrast with a two-tower cloze model (Clark et al.,
    2020). A sentence's score is minus the sum of its tokens' energies."""

    kind: str = "electric"
    generator: Filling = "two-tower"
    detection_weight: NotNegative = 50.0

    @property
    def scored(self) -> bool:
        """True: noise contrast needs log q of every token."""
        return True

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Noise contrast. Raises ``UserError`` for a generator that does not have every position's probability, or that
        never draws the original: then a changed token would always be noise."""
        if self.generator != "two-tower":
            raise UserError(f"electric needs the probability of every token: generator two-tower, not {self.generator}")
        if self.never_original:
            raise UserError("electric's noise must be able to be the original token: never_original false")
        return {"discriminator": NoiseContrast(self.detection_weight)}


@dataclass(frozen=True)
class DebertaV3(Electra):
    """DeBERTaV3's replaced token detection: gradient-disentangled embedding sharing, a generator of the encoder's width
    and half its depth (He et al., 2021)."""

    kind: str = "deberta-v3"
    generator_width: Positive = 1.0
    generator_depth: Positive = 0.5
    embeddings: Sharing = "disentangled"


@dataclass(frozen=True)
class CocoLm(Electra):
    """COCO-LM: detection, corrective language modelling and sequence contrast; the generator as wide as the encoder, a
    third as deep, without dropout (Meng et al., 2021)."""

    kind: str = "coco-lm"
    generator_width: Positive = 1.0
    generator_depth: Positive = 1 / 3  # 4 of 12 layers
    generator_dropout: bool = False
    correction_weight: NotNegative = 1.0
    contrast_weight: NotNegative = 1.0  # 0: no contrast, which costs a second pass of the encoder

    def terms(self, encoder: EncoderConfig, small: EncoderConfig) -> dict[str, Term]:
        """Detection, correction and, unless its weight is 0, sequence contrast."""
        terms = super().terms(encoder, small) | {"correction": Correction(encoder, self.correction_weight)}
        return terms | ({"contrast": SequenceContrast(self.contrast_weight)} if self.contrast_weight else {})


@dataclass(frozen=True)
class Decoupled(Electra):
    """Decoupled ELECTRA: nothing is shared, each tower has its own learning rate and clipping (Zhang et al., 2023)."""

    kind: str = "decoupled"
    embeddings: Sharing = "own"
    clip: Literal["together", "apart"] = "apart"


OWN_KINDS = ByKind()
Objective = Annotated[
    Electra | Mlm | Electra15 | ReplaceMlm | AllTokensMlm | Adversarial | TwoStage | WarmedElectra | Electric
    | DebertaV3 | CocoLm | FastElectra | Decoupled,
    OWN_KINDS,
]  # fmt: skip
Stages = tuple[tuple[float, Objective], ...]
OBJECTIVE_KINDS: dict[str, type] = {kind_of(objective): objective for objective in dataclasses_of(Objective)}


def add_objective(objective: type[AnyObjective]) -> type[AnyObjective]:
    """A decorator: from here on configs and flags of this process know the class by its ``kind``. When a notebook's
    cell is run again, the new class of the same kind replaces the old one.

    Raises:
        UserError: the package has an objective of this kind.
    """
    if (kind := kind_of(objective)) in OBJECTIVE_KINDS:
        raise UserError(f"objective {objective.__name__}: {kind} is there already; it needs a field kind of its own")
    OWN_KINDS.add(objective)
    return objective


def begin_with_mlm(first: float, objective: Generated, width: float, depth: float) -> Stages:
    """Masked language modelling for the share ``first`` of the operations, then ``objective``."""
    masking = {field.name: getattr(objective, field.name) for field in fields(Masked)}
    before = Mlm(**masking, width=width, depth=depth)
    return ((first, before), (1 - first, objective)) if first else ((1.0, objective),)  # type: ignore[return-value]


def narrow_embeddings(small: EncoderConfig, encoder: EncoderConfig) -> EncoderConfig:
    """The config of a generator with tables of its own. A classic one that is narrower than the encoder gets embeddings
    as wide as its layers (original code)."""
    if isinstance(small, ClassicConfig) and small.hidden_size < encoder.hidden_size:
        return replace(small, embedding_size=small.hidden_size)
    return small


def require_fact(fact: Callable[[], Tensor] | None, what: str) -> Tensor:
    """Compute a fact of ``CorpusFacts``. Raises ``UserError`` if there is none."""
    if fact is None:
        raise UserError(f"this objective asks {what}, which only prepared data says")
    return fact()
