"""Hugging Face's names beside ours: of tensors and of config keys, ELECTRA's and ModernBERT's classes.

A table says for each of our parameters which tensors it is made of, one after another along the first axis: our
attention reads queries, keys and values from one matrix.
"""

from dataclasses import asdict
from typing import Any, TypeVar

from transformers import ElectraConfig, ModernBertConfig, PretrainedConfig

from electra.config import check_ranges
from electra.errors import UserError
from electra.interchange.spellings import refuse_two_thetas
from electra.model.config import ClassicConfig, EncoderConfig, ModernConfig
from electra.model.encoder import Tower
from electra.model.heads import TokenHead
from electra.tokenization.settings import refuse_endless

Config = TypeVar("Config", ClassicConfig, ModernConfig)
TensorNames = dict[str, list[str]]

LABELS = {0: "original", 1: "replaced"}


def weight_and_bias(ours: str, *theirs: str) -> TensorNames:
    """The names of a weight and of a bias, each made of one tensor of every module in ``theirs``."""
    return {f"{ours}.{part}": [f"{name}.{part}" for name in theirs] for part in ("weight", "bias")}


def weight_alone(ours: str, theirs: str) -> TensorNames:
    """The name of a weight that has no bias beside it."""
    return {f"{ours}.weight": [f"{theirs}.weight"]}


CLASSIC_EMBEDDINGS = (
    weight_alone("embeddings.tokens", "electra.embeddings.word_embeddings")
    | weight_alone("embeddings.positions", "electra.embeddings.position_embeddings")
    | weight_alone("embeddings.segments", "electra.embeddings.token_type_embeddings")
    | weight_and_bias("embeddings.norm", "electra.embeddings.LayerNorm")
)
CLASSIC_LAYER = (
    weight_and_bias("qkv", "attention.self.query", "attention.self.key", "attention.self.value")
    | weight_and_bias("output", "attention.output.dense")
    | weight_and_bias("attention_norm", "attention.output.LayerNorm")
    | weight_and_bias("up", "intermediate.dense")
    | weight_and_bias("down", "output.dense")
    | weight_and_bias("norm", "output.LayerNorm")
)
CLASSIC_TOKEN_HEAD = (
    weight_and_bias("head.dense", "generator_predictions.dense")
    | weight_and_bias("head.norm", "generator_predictions.LayerNorm")
    | {"head.bias": ["generator_lm_head.bias"]}
)
CLASSIC_DETECTION_HEAD = weight_and_bias("head.dense", "discriminator_predictions.dense") | weight_and_bias(
    "head.classifier", "discriminator_predictions.dense_prediction"
)

MODERN_EMBEDDINGS = weight_alone("embeddings.tokens", "model.embeddings.tok_embeddings") | weight_alone(
    "embeddings.norm", "model.embeddings.norm"
)
MODERN_LAYER = (
    weight_alone("attention_norm", "attn_norm")  # the first layer has none
    | weight_alone("qkv", "attn.Wqkv")
    | weight_alone("output", "attn.Wo")
    | weight_alone("norm", "mlp_norm")
    | weight_alone("up", "mlp.Wi")
    | weight_alone("down", "mlp.Wo")
)
MODERN_HEAD = weight_alone("head.dense", "head.dense") | weight_alone("head.norm", "head.norm")
MODERN_TOKEN_HEAD = MODERN_HEAD | {"head.bias": ["decoder.bias"]}
MODERN_DETECTION_HEAD = MODERN_HEAD | weight_and_bias("head.classifier", "classifier")

# What a generator's folder may hold twice: the output matrix, and the table that it is tied to.
TIED = {
    "generator_lm_head.weight": "electra.embeddings.word_embeddings.weight",
    "decoder.weight": "model.embeddings.tok_embeddings.weight",
}
POSITION_IDS = "electra.embeddings.position_ids"  # 0, 1, 2 …: a buffer in folders of older versions


def tensor_names(tower: Tower) -> TensorNames:
    """Our parameter → Hugging Face's tensors, for every parameter of the tower."""
    token, config = isinstance(tower.head, TokenHead), tower.config
    if isinstance(config, ClassicConfig):
        names = CLASSIC_EMBEDDINGS | (CLASSIC_TOKEN_HEAD if token else CLASSIC_DETECTION_HEAD)
        if config.embedding_size != config.hidden_size:
            names |= weight_and_bias("encoder.project", "electra.embeddings_project")
        layer, theirs = CLASSIC_LAYER, "electra.encoder.layer"
    else:
        names = MODERN_EMBEDDINGS | (MODERN_TOKEN_HEAD if token else MODERN_DETECTION_HEAD)
        names |= weight_alone("encoder.norm", "model.final_norm")
        layer, theirs = MODERN_LAYER, "model.layers"
    for index in range(config.layers):
        for ours, parts in layer.items():
            names[f"encoder.layers.{index}.{ours}"] = [f"{theirs}.{index}.{part}" for part in parts]
    if isinstance(config, ModernConfig):
        del names["encoder.layers.0.attention_norm.weight"]
    return names


# Our config key → theirs.
CLASSIC_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "embedding_size": "embedding_size",
    "max_positions": "max_position_embeddings",
    "segments": "type_vocab_size",
    "dropout": "hidden_dropout_prob",
    "attention_dropout": "attention_probs_dropout_prob",
    "norm_eps": "layer_norm_eps",
    "init_std": "initializer_range",
}
RATES = ("dropout", "attention_dropout", "norm_eps", "init_std")  # floats, also where a file says 0
MODERN_KEYS = {
    "vocab_size": "vocab_size",
    "hidden_size": "hidden_size",
    "layers": "num_hidden_layers",
    "heads": "num_attention_heads",
    "intermediate_size": "intermediate_size",
    "max_positions": "max_position_embeddings",
    "local_window": "local_attention",
    "dropout": "mlp_dropout",
    "attention_dropout": "attention_dropout",
    "norm_eps": "norm_eps",
    "init_std": "initializer_range",
}
# What our encoders compute whatever the config says: a folder that wants something else cannot be read.
CLASSIC_FIXED = {
    "hidden_act": "gelu",
    "position_embedding_type": "absolute",
    "is_decoder": False,
    "add_cross_attention": False,
}
MODERN_FIXED = {
    "hidden_activation": "gelu",
    "classifier_activation": "gelu",
    "attention_bias": False,
    "mlp_bias": False,
    "norm_bias": False,
    "classifier_bias": False,
    "decoder_bias": True,
}


def transformers_config(tower: Tower) -> PretrainedConfig:
    """The tower's config as transformers writes it to config.json: ElectraConfig or ModernBertConfig."""
    config, token, ours = tower.config, isinstance(tower.head, TokenHead), asdict(tower.config)
    if isinstance(config, ClassicConfig):
        return ElectraConfig(
            **{theirs: ours[key] for key, theirs in CLASSIC_KEYS.items()},
            architectures=["ElectraForMaskedLM" if token else "ElectraForPreTraining"],
            pad_token_id=None,
            dtype="float32",
        )
    labels = {} if token else {"id2label": LABELS, "label2id": {label: index for index, label in LABELS.items()}}
    return ModernBertConfig(
        **{theirs: ours[key] for key, theirs in MODERN_KEYS.items()},
        **labels,
        architectures=["ModernBertForMaskedLM" if token else "ModernBertForTokenClassification"],
        embedding_dropout=config.dropout,
        global_attn_every_n_layers=config.global_every,
        rope_parameters={
            "full_attention": {"rope_type": "default", "rope_theta": config.global_theta},
            "sliding_attention": {"rope_type": "default", "rope_theta": config.local_theta},
        },
        dtype="float32",
        **{f"{name}_token_id": None for name in ("pad", "cls", "sep", "bos", "eos")},
    )


def encoder_config(settings: dict[str, Any], path: str) -> EncoderConfig:
    """The encoder that the config.json at ``path`` describes with these settings.

    Raises:
        UserError: another kind of model, or one of these with parts that our encoders do not have.
    """
    kind = settings.get("model_type")
    if kind == "electra":
        theirs = parse_config(ElectraConfig, settings, CLASSIC_FIXED, path)
        return build_config(ClassicConfig, {ours: getattr(theirs, key) for ours, key in CLASSIC_KEYS.items()}, path)
    if kind != "modernbert":
        raise UserError(f"{path}: model_type is {kind!r}; electra and modernbert can be read")
    refuse_two_thetas(settings, path)
    theirs = parse_config(ModernBertConfig, settings, MODERN_FIXED, path)
    if theirs.embedding_dropout != theirs.mlp_dropout:
        raise UserError(f"{path}: embedding_dropout and mlp_dropout differ; here they are one")
    rope = theirs.rope_parameters
    for layers, parameters in rope.items():
        if parameters["rope_type"] != "default":
            raise UserError(f"{path}: rope_type of {layers} is {parameters['rope_type']!r}; only default can be read")
    values: dict[str, Any] = {ours: getattr(theirs, key) for ours, key in MODERN_KEYS.items()}
    values["global_every"] = find_global_every(theirs, path)
    values["global_theta"] = float(rope["full_attention"]["rope_theta"])
    values["local_theta"] = float(rope["sliding_attention"]["rope_theta"])
    return build_config(ModernConfig, values, path)


def build_config(kind: type[Config], values: dict[str, Any], path: str) -> Config:
    """The config of a kind with the values that a config.json has. Raises ``UserError`` for a number that is not in its
    field's range, or sizes that do not fit together."""
    values = {name: float(value) if name in RATES and value == 0 else value for name, value in values.items()}
    try:
        config = kind(**values)
    except UserError as error:
        raise UserError(f"{path}: {error}") from error
    check_ranges(config, f"{path}: ")
    return config


def parse_config(
    kind: type[PretrainedConfig], settings: dict[str, Any], fixed: dict[str, Any], path: str
) -> PretrainedConfig:
    """The settings of the config.json at ``path`` as transformers' config of a kind.

    Raises:
        UserError: a setting that transformers refuses, or that ``refuse_endless`` does, or that has another value than
            ``fixed`` says.
    """
    from huggingface_hub.errors import StrictDataclassError  # comes with transformers

    refuse_endless(settings, path)
    try:
        config = kind.from_dict(settings)
    except (TypeError, ValueError, AttributeError, LookupError, StrictDataclassError) as error:
        raise UserError(f"{path}: {' '.join(str(error).split())}") from error
    for key, value in fixed.items():
        if getattr(config, key, value) != value:
            raise UserError(f"{path}: {key} is {getattr(config, key)!r}; only {value!r} can be read")
    return config


def find_global_every(config: ModernBertConfig, path: str) -> int:
    """The n of which every n-th layer, from the first on, sees the whole document.

    Raises:
        UserError: they are no such layers.
    """
    is_global = [kind == "full_attention" for kind in config.layer_types]
    guess = getattr(config, "global_attn_every_n_layers", None)
    for every in ([guess] if guess else []) + list(range(1, len(is_global) + 1)):
        if is_global == [index % every == 0 for index in range(len(is_global))]:
            return every
    raise UserError(f"{path}: layer_types: full_attention must be every n-th layer, from the first")
