"""Linear probes: scikit-learn's optimum, the layer that knows, and nothing of dev in what is fitted."""

import random
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, softmax
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn

from electra.errors import UserError
from electra.interchange.encoders import Inputs, TowerReader
from electra.model.config import ClassicConfig, ModernConfig
from electra.model.embeddings import build_embeddings
from electra.model.encoder import EncoderConfig, Tower
from electra.tasks.datasets.samples import Kind, Sample, Task
from electra.tasks.frozen import linear
from electra.tasks.frozen.linear import CRITERIA, STRENGTHS, Fit, PrincipalAxes, fit_coordinates, fit_with_best_strength
from electra.tasks.frozen.probes import Probe, choose_held_out, extract_features, probe_layers
from electra.tasks.frozen.texts import batch_texts
from electra.tokenization.tokenizer import Tokenizer
from electra.tokenization.training import train_tokenizer

CLASSIC = ClassicConfig(
    vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=64, embedding_size=16, max_positions=32
)
MODERN = ModernConfig(vocab_size=200, hidden_size=32, layers=2, heads=2, intermediate_size=48, max_positions=32)
LENGTH = 16
CPU = torch.device("cpu")


def texts(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [" ".join(draw.choices([f"w{n}" for n in range(30)], k=draw.randint(3, 9))) for _ in range(count)]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_tokenizer(texts(400, 0), 200)


def reader(config: EncoderConfig) -> TowerReader:
    torch.manual_seed(0)
    return TowerReader(Tower.detection(config, build_embeddings(config)))


def odd(tokenizer: Tokenizer, text: str) -> int:
    """1 where the sum of a text's ids is odd, which no sum of one vector for each token tells."""
    return sum(tokenizer.encode([text])[0]) % 2


def of_parity(tokenizer: Tokenizer, **counts: int) -> Task:
    splits = {
        split: [Sample(text, label=odd(tokenizer, text)) for text in texts(count, seed)]
        for seed, (split, count) in enumerate(counts.items(), 1)
    }
    return Task("parity", "class", ("even", "odd"), ("accuracy",), splits)


class Planted(nn.Module):
    """Random embeddings in four layers, the third of which has the parity of a text's ids besides."""

    def __init__(self, special: tuple[int, ...]):
        super().__init__()
        self.table = nn.Embedding(200, 12)
        self.sizes, self.longest, self.family, self.special = [12] * 4, 512, "classic", torch.tensor(special)

    def hidden_states(self, inputs: Inputs, keys: Any) -> list[Tensor]:
        assert keys is None and torch.is_inference_mode_enabled()
        ids = inputs.ids
        states = [self.table(ids) * (layer + 1) for layer in range(4)]
        parity = (ids * ~torch.isin(ids, self.special)).sum(1, keepdim=True) % 2
        states[2] = torch.cat([states[2][:, :, 1:], 0.01 * parity[:, :, None].expand(-1, ids.shape[1], 1)], dim=2)
        return states

    def is_head_parameter(self, name: str) -> bool:
        return False


def planted(tokenizer: Tokenizer) -> Planted:
    torch.manual_seed(0)
    return Planted(tuple(tokenizer.ids.values()))


def test_the_layer_that_knows_is_found(tokenizer: Tokenizer) -> None:
    scores = probe_layers(planted(tokenizer), tokenizer, of_parity(tokenizer, train=300, dev=200), LENGTH, CPU)
    assert scores["best_layer"] == 2 and scores["best"] == scores["layer 2"] == 1.0
    assert all(scores[f"layer {layer}"] < 0.65 for layer in (0, 1, 3)) and scores["all layers"] > 0.95
    assert 0.4 < scores["majority"] < 0.65


def test_figures_are_those_of_the_probe_and_repeat_themselves(tokenizer: Tokenizer) -> None:
    task, tower = of_parity(tokenizer, train=120, dev=80), reader(CLASSIC)
    scores, probe = probe_layers(tower, tokenizer, task, LENGTH, CPU), Probe(task, tokenizer, LENGTH)
    assert probe.figures(tower, CPU) == probe.figures(tower, CPU) == {
        "probe/best": scores["best"],
        "probe/best_layer": scores["best_layer"],
        "probe/last": scores["layer 2"],
        "probe/majority": scores["majority"],
    }  # fmt: skip
    turned = replace(task, splits={split: list(samples)[::-1] for split, samples in task.splits.items()})
    assert probe_layers(tower, tokenizer, turned, LENGTH, CPU) == scores


@pytest.mark.parametrize("config", [CLASSIC, MODERN], ids=["classic", "modern"])
def test_features_are_the_means_of_each_text_read_alone(tokenizer: Tokenizer, config: EncoderConfig) -> None:
    tower = reader(config)
    pairs: list[tuple[str, str | None]] = [(text, None) for text in texts(90, 1)] + [("w1 w2", "w3")]
    features = extract_features(tower, batch_texts(pairs, tokenizer, LENGTH), CPU)
    assert [layer.shape for layer in features] == [(91, size) for size in tower.sizes]
    for number in (0, 50, 90):
        (alone,) = batch_texts([pairs[number]], tokenizer, LENGTH)
        with torch.no_grad():
            read = tower.hidden_states(alone.inputs, None)
        length = int(alone.documents.sum())
        for layer, states in zip(features, read, strict=True):
            np.testing.assert_allclose(layer[number], states[0, :length].mean(0).numpy(), rtol=1e-4, atol=1e-6)


def random_data(outputs: int, noise: float) -> tuple[np.ndarray, np.ndarray]:
    """900 samples of features, on scales from 0.01 to 100 and not around 0, and of noisy linear scores."""
    draw = np.random.default_rng(0)
    x = draw.normal(size=(900, 20))
    scores = x @ draw.normal(size=(20, outputs)) + noise * draw.normal(size=(900, outputs))
    return (x * np.logspace(-2, 2, 20) + draw.normal(size=20)).astype(np.float32), scores


def predict(x: np.ndarray, targets: np.ndarray, kind: Kind, strength: float) -> np.ndarray:
    """The outputs of a model that is fitted as exactly as can be."""
    axes, gold = PrincipalAxes.of(x), torch.from_numpy(targets)
    fit = fit_coordinates(axes.project(x), axes.variances, gold, CRITERIA[kind], strength, change=1e-12)
    return axes.express(fit)(x)


@pytest.mark.parametrize("strength", [1.0, 0.01])
def test_a_fit_is_scikit_learns(strength: float) -> None:
    x, scores = random_data(3, 2.0)
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    inverse = 1 / (strength * len(x))

    ours = predict(x, np.eye(3)[scores.argmax(1)], "class", strength)
    theirs = LogisticRegression(C=inverse, tol=1e-9, max_iter=5000).fit(scaled, scores.argmax(1))
    np.testing.assert_allclose(softmax(ours, axis=1), theirs.predict_proba(scaled), atol=1e-5)

    ours = predict(x, scores, "score", strength)
    ridge = Ridge(alpha=strength * len(x)).fit(scaled, scores)
    np.testing.assert_allclose(ours, ridge.predict(scaled), atol=1e-5)

    ours = predict(x, (scores > 0.5).astype(float), "labels", strength)
    for label in range(3):
        each = LogisticRegression(C=inverse, tol=1e-9, max_iter=5000).fit(scaled, scores[:, label] > 0.5)
        np.testing.assert_allclose(expit(ours[:, label]), each.predict_proba(scaled)[:, 1], atol=1e-5)


def test_a_fit_that_began_with_another_is_the_same() -> None:
    """From a stronger fit to other samples, and with a feature and a class that do not occur: a constant and 0."""
    x, scores = random_data(3, 2.0)
    x[:, 4] = 7.0
    axes, targets = PrincipalAxes.of(x), torch.from_numpy(np.eye(4)[scores.argmax(1)])
    at = axes.project(x)
    begun = fit_coordinates(at[:500], axes.variances, targets[:500], CRITERIA["class"], 1.0)
    assert (axes.express(begun).weights[4] == 0).all() and np.isfinite(axes.express(begun).bias).all()

    def predict_from(start: Fit | None, change: float) -> np.ndarray:
        fit = fit_coordinates(at, axes.variances, targets, CRITERIA["class"], 0.01, start, change)
        return softmax(axes.express(fit)(x), axis=1)

    best = predict_from(None, 1e-12)
    np.testing.assert_allclose(predict_from(begun, 1e-12), best, atol=1e-5)
    distances = [np.abs(predict_from(start, 1e-2) - best).max() for start in (None, begun)]
    assert distances[1] < distances[0], "a start brings it nearer"


def test_more_features_than_samples() -> None:
    x = np.random.default_rng(1).normal(size=(40, 300)).astype(np.float32) + 3
    targets = np.eye(3)[np.arange(40) % 3]
    scaled = StandardScaler().fit_transform(x.astype(np.float64))
    theirs = LogisticRegression(C=1 / (0.1 * 40), tol=1e-9, max_iter=5000).fit(scaled, np.arange(40) % 3)
    ours = predict(x, targets, "class", 0.1)
    np.testing.assert_allclose(softmax(ours, axis=1), theirs.predict_proba(scaled), atol=1e-5)
    assert PrincipalAxes.of(x).axes.shape == (300, 39), "one less: their mean is 0"


@pytest.mark.parametrize("noise", [0.0, 1.0, 10.0])
def test_the_strength_of_the_least_held_out_loss_is_taken(noise: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of those that are tried: in their order, until the loss rises."""
    x, scores = random_data(3, noise)
    targets, held = np.eye(3)[scores.argmax(1)], np.arange(len(x)) % 5 == 0
    asked: list[float] = []

    def noted(x: Tensor, variances: Tensor, y: Tensor, way: linear.Criterion, strength: float, start: Any) -> Fit:
        asked.append(strength)
        return fit_coordinates(x, variances, y, way, strength, start)

    monkeypatch.setattr(linear, "fit_coordinates", noted)
    model = fit_with_best_strength(x, targets, held, CRITERIA["class"])
    axes, gold = PrincipalAxes.of(x), torch.from_numpy(targets)
    losses = []
    for strength in STRENGTHS:
        fit = fit_coordinates(
            axes.project(x[~held]), axes.variances, gold[~held], CRITERIA["class"], strength, change=1e-12
        )
        outputs = torch.from_numpy(axes.express(fit)(x[held]))
        losses.append(float(CRITERIA["class"].loss(outputs, gold[held])))
    least = int(np.argmin(losses))
    assert asked == [*STRENGTHS[: least + 2], STRENGTHS[least]]
    best = softmax(predict(x, targets, "class", STRENGTHS[least]), axis=1)
    np.testing.assert_allclose(softmax(model(x), axis=1), best, atol=0.02)


@pytest.mark.parametrize("noise", [0.0, 3.0])
def test_the_whole_fit_does_as_well_as_scikit_learn(noise: float) -> None:
    x, scores = random_data(4, noise)
    gold, train = scores.argmax(1), 600
    held = np.arange(train) % 5 == 0
    predicted = fit_with_best_strength(x[:train], np.eye(4)[gold[:train]], held, CRITERIA["class"])(x[train:]).argmax(1)
    scaler = StandardScaler().fit(x[:train])
    theirs = LogisticRegression(max_iter=5000).fit(scaler.transform(x[:train]), gold[:train])
    ours = (predicted == gold[train:]).mean()
    assert ours >= theirs.score(scaler.transform(x[train:]), gold[train:]) - 0.02


def test_dev_judges_and_does_nothing_else(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    task = of_parity(tokenizer, train=120, dev=80)
    other = [replace(sample, label=1 - sample.label) for sample in task.splits["dev"]]
    fits: list[tuple[float, bytes]] = []

    def noted(x: Tensor, variances: Tensor, y: Tensor, way: linear.Criterion, strength: float, start: Any) -> Fit:
        fit = fit_coordinates(x, variances, y, way, strength, start)
        fits.append((strength, fit.weights.numpy().tobytes()))
        return fit

    monkeypatch.setattr(linear, "fit_coordinates", noted)
    one = probe_layers(planted(tokenizer), tokenizer, task, LENGTH, CPU)
    first, fits = fits, []
    two = probe_layers(planted(tokenizer), tokenizer, replace(task, splits=task.splits | {"dev": other}), LENGTH, CPU)
    strengths = iter([strength for strength, _ in fits])
    for _ in range(5):  # four layers, and all of them: those that are tried, and the best of them
        tried = [next(strengths)]
        while tried[-1] != STRENGTHS[-1] and (strength := next(strengths)) < tried[-1]:
            tried.append(strength)
        chosen = next(strengths) if tried[-1] == STRENGTHS[-1] else strength
        assert tried == [*STRENGTHS[: len(tried)]] and chosen in tried[-2:]
    assert first == fits and next(strengths, None) is None
    assert two["layer 2"] == 0.0 and all(two[name] == pytest.approx(1 - one[name]) for name in one if "layer " in name)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.sampled_from([f"text {n}" for n in range(40)]), min_size=1, max_size=100))
def test_equal_texts_are_on_one_side(drawn: list[str]) -> None:
    out = choose_held_out([Sample(text) for text in drawn], "tag")
    sides = [{text for text, held in zip(drawn, out, strict=True) if held is np.bool_(side)} for side in (True, False)]
    assert not sides[0] & sides[1] and len(sides[0]) == len(set(drawn)) // 5
    assert (choose_held_out([Sample(text) for text in drawn[::-1]], "tag") == out[::-1]).all()


def test_without_dev_a_fifth_of_train_judges(tokenizer: Tokenizer) -> None:
    task = of_parity(tokenizer, train=500)
    assert len(set(task.splits["train"])) == 500
    probe = Probe(task, tokenizer, LENGTH)
    assert len(probe.gold) == 100 and len(probe.targets) == 400 and probe.held_out.sum() == 80
    assert probe_layers(planted(tokenizer), tokenizer, task, LENGTH, CPU)["best"] == 1.0
    unlabelled = replace(task, splits=task.splits | {"dev": [Sample("w1")]})
    assert len(Probe(unlabelled, tokenizer, LENGTH).gold) == 100


def test_most_bounds_both_splits(tokenizer: Tokenizer) -> None:
    task = of_parity(tokenizer, train=200, dev=100)
    small, other = (Probe(task, tokenizer, LENGTH, most=50, seed=seed) for seed in (0, 1))
    assert len(small.targets) == len(small.gold) == 50
    assert small.figures(planted(tokenizer), CPU)["probe/best_layer"] == 2
    assert not torch.equal(small.train[0].ids, other.train[0].ids)


def test_too_few_texts_are_told(tokenizer: Tokenizer) -> None:
    task = of_parity(tokenizer, train=5, dev=5)
    with pytest.raises(UserError, match="parity: 5 different texts to fit a probe to; at least 10 are needed"):
        Probe(replace(task, splits=task.splits | {"train": list(task.splits["train"]) * 9}), tokenizer, LENGTH)


def test_training_goes_on_as_if_nobody_had_looked(tokenizer: Tokenizer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever mode a probe is called in, and, where classes are told apart, without scikit-learn and scipy."""
    for absent in ("sklearn", "sklearn.metrics", "scipy", "scipy.stats"):
        monkeypatch.setitem(sys.modules, absent, None)
    tower, probe = reader(CLASSIC), Probe(of_parity(tokenizer, train=60, dev=40), tokenizer, LENGTH)
    before, state = {name: value.clone() for name, value in tower.state_dict().items()}, torch.get_rng_state()
    figures = probe.figures(tower, CPU)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            assert probe.figures(tower, CPU) == figures
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(value, before[name]) for name, value in tower.state_dict().items())
    batch = probe.train[0]
    tower.hidden_states(batch.inputs, None)[-1].sum().backward()
    assert all(value.grad is not None for value in tower.parameters())


def test_a_diverged_encoder_tells_nothing(tokenizer: Tokenizer) -> None:
    dead = reader(CLASSIC)
    nn.init.constant_(dead.encoder.layers[0].up.weight, float("nan"))
    scores = probe_layers(dead, tokenizer, of_parity(tokenizer, train=120, dev=80), LENGTH, CPU)
    assert scores["layer 1"] == scores["layer 2"] == scores["majority"]


@pytest.mark.parametrize("kind", ["score", "labels"])
def test_scores_and_labels_are_read(tokenizer: Tokenizer, kind: Kind) -> None:
    """A text's score is the mean of its words' numbers; its labels are whether two of the words are there."""

    def samples(count: int, seed: int) -> list[Sample]:
        words = [[int(word[1:]) for word in text.split()] for text in texts(count, seed)]
        labels = [1000 + np.mean(each) if kind == "score" else (1.0 * (1 in each), 1.0 * (2 in each)) for each in words]
        return [Sample(text, label=label) for text, label in zip(texts(count, seed), labels, strict=True)]

    labels, metric = ((), "spearman") if kind == "score" else (("one", "two"), "micro-f1")
    task = Task("counts", kind, labels, (metric,), {"train": samples(500, 1), "dev": samples(200, 2)})
    scores = probe_layers(reader(MODERN), tokenizer, task, LENGTH, CPU)
    assert CRITERIA[kind].metric == metric and scores["best"] > 0.8
    assert scores["majority"] == 0.0 if kind == "score" else 0.2 < scores["majority"] < 0.5


def test_outputs_are_judged_as_the_answers_that_they_stand_for() -> None:
    outputs = np.array([[3.0, 1.0, -1.0], [2.0, 0.5, 1.0], [1.0, 5.0, -2.0]])
    classes = np.array([[1.0, 0, 0], [0, 0, 1], [0, 1, 0]])
    assert CRITERIA["class"].judge(classes, outputs) == pytest.approx(2 / 3), "the largest output"
    labels = np.array([[1.0, 0, 0], [1, 1, 1], [0, 0, 1]])
    assert CRITERIA["labels"].judge(labels, outputs) == pytest.approx(2 * 4 / (5 + 7)), "the positive outputs"
    assert CRITERIA["score"].judge(np.array([[9.0], [4], [2]]), outputs[:, :1]) == pytest.approx(1.0)
