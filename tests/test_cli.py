"""The command line: what it teaches, how it fails, which layers it lays."""

import json
import shlex
import subprocess
import sys
from dataclasses import dataclass, fields

import pytest

import electra
from electra import cli, config, recipes
from electra.errors import UserError
from electra.workflows.pretraining.config import PretrainConfig


@dataclass(frozen=True)
class StirConfig:
    """Stir the pot."""

    run: str = ""
    speed: float = 1.0


def stir(asked: StirConfig) -> None:
    """What the table's function would do."""
    if asked.speed == 2:
        raise UserError("too fast: 2; at most 1")
    if asked.speed == 3:
        raise KeyboardInterrupt
    print(f"stirred {asked.run} at {asked.speed}")


@pytest.fixture
def stirring(monkeypatch):
    """A verb of its own in the table, which goes on with the run in --run."""
    monkeypatch.setattr(electra, "stir", stir, raising=False)
    monkeypatch.setattr(electra, "StirConfig", StirConfig, raising=False)
    verb = cli.Verb("stir the pot", "StirConfig", "electra stir soup", positional=("run",), goes_on="--run")
    monkeypatch.setitem(cli.VERBS, "stir", verb)


def test_a_verb_is_called_with_its_config(stirring, capsys):
    assert cli.main(["stir", "soup", "--speed", "0.5"]) == 0
    assert capsys.readouterr().out == "stirred soup at 0.5\n"


def test_mistakes_are_one_line_and_code_2(stirring, capsys):
    for arguments, message in [
        (["stir", "--speed", "2"], "too fast: 2; at most 1"),
        (["stir", "--sped", "2"], "unknown flag --sped; did you mean --speed?"),
        (["stir", "--print-confg"], "unknown flag --print-confg; did you mean --print-config?"),
        (["pretrain", "--presett", "small"], "unknown flag --presett; did you mean --preset?"),
        (["stir", "--config"], "argument --config: expected one argument"),
        (["stir", "--config", "absent.yaml"], "absent.yaml: No such file or directory"),
        (["sitr"], "unknown command sitr; did you mean stir?"),
        (["qqq"], "unknown command qqq; electra --help lists them"),
        (["pretrain", "--preset", "smal"], f"--preset smal: there is none; one of {', '.join(recipes.list_presets())}"),
    ]:
        assert cli.main(arguments) == 2
        said = capsys.readouterr()
        assert said.err.startswith(f"electra: error: {message}")
        assert said.err.count("\n") == 1
        assert said.out == ""


def test_ctrl_c_ends_with_130(stirring, capsys):
    assert cli.main(["stir", "--speed", "3"]) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_print_config_prints_what_loads_back(stirring, capsys, tmp_path):
    (tmp_path / "a.yaml").write_text("speed: 0.25\nrun: stew\n")
    assert cli.main(["stir", "soup", "--config", str(tmp_path / "a.yaml"), "--print-config"]) == 0
    (tmp_path / "b.yaml").write_text(capsys.readouterr().out)
    assert config.load_config(StirConfig(), tmp_path / "b.yaml") == StirConfig("soup", 0.25)


def test_a_run_that_was_begun_lends_its_config(stirring, capsys, tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"run": str(tmp_path), "speed": 0.75}))
    for flag in ([f"--run={tmp_path}"], ["--run", str(tmp_path)]):
        assert cli.find_saved_config(cli.VERBS["stir"], flag) == tmp_path / "config.json"
    assert cli.find_saved_config(cli.VERBS["stir"], ["--run", str(tmp_path / "new")]) is None
    assert cli.find_saved_config(cli.VERBS["stir"], ["--run"]) is None


def test_overview_names_every_verb_and_needs_no_torch():
    heavy = "{'torch', 'transformers', 'pydantic', 'tyro'}"
    code = f"import sys; from electra.cli import main; main(['--help']); assert not {heavy} & set(sys.modules)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name, verb in cli.VERBS.items():
        assert f"  {name}" in said
        assert verb.example in said


def test_a_closed_pipe_is_no_error():
    code = (
        "from electra import cli; cli.overview_text = lambda: 'word\\n' * 100_000; import sys; sys.exit(cli.main([]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(60) == 141
    assert process.stderr.read() == ""
    process.stderr.close()


@pytest.mark.parametrize("name", sorted(cli.VERBS))
def test_every_verb_exists_and_its_example_is_valid(name):
    verb = cli.VERBS[name]
    command, named, *arguments = shlex.split(verb.example)
    assert (command, named) == ("electra", name)
    function, _, show = cli.resolve_command(name, verb, arguments)
    assert callable(function)
    assert not show
    assert function.__name__ == (verb.function or name)


@pytest.mark.parametrize("name", recipes.list_presets())
def test_every_recipe_is_whole(name):
    """A preset leaves nothing of what shapes or trains a model to a default."""
    written = config.read_config_file(recipes.find_preset(name))
    _, preset, _ = cli.resolve_command("pretrain", cli.VERBS["pretrain"], ["--preset", name])
    for section in ("encoder", "objective", "optimizer", "schedule", "layout"):
        part = getattr(preset, section)
        assert set(written[section]) == {field.name for field in fields(part)}, section
        assert written[section]["kind"] == part.kind
    assert all(set(phase) >= {"steps", "length", "rows"} for phase in written["phases"])
    assert "seed" in written
    assert "clip" in written["engine"]
    assert preset.encoder.max_positions >= max(phase.length for phase in preset.phases)
    assert preset.encoder.hidden_size % preset.encoder.heads == 0


@pytest.mark.parametrize("name", recipes.list_presets())
def test_a_preset_laid_over_without_pydantic_is_the_one_that_was_checked(name, monkeypatch):
    base = PretrainConfig()
    checked = config.load_config(base, recipes.find_preset(name))
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert recipes.apply_preset(base, name) == checked
    config.check_ranges(checked)


def test_published_recipes_have_the_published_numbers():
    """Tables 6 and 7 of the paper; Small++ as the original repository's README says."""
    columns = ("layers", "hidden_size", "intermediate_size", "heads", "embedding_size")
    for name, shape, width, masked, rate, rows, steps, length in [
        ("small", (12, 256, 1024, 4, 128), 1 / 4, 0.15, 5e-4, 128, 1_000_000, 128),
        ("base", (12, 768, 3072, 12, 768), 1 / 3, 0.15, 2e-4, 256, 766_000, 512),
        ("large", (24, 1024, 4096, 16, 1024), 1 / 4, 0.25, 2e-4, 2048, 400_000, 512),
        ("small-plus-plus", (12, 256, 1024, 4, 128), 1.0, 0.15, 5e-4, 128, 4_000_000, 512),
    ]:
        _, preset, _ = cli.resolve_command("pretrain", cli.VERBS["pretrain"], ["--preset", name])
        encoder, phase = preset.encoder, preset.phases[0]
        assert tuple(getattr(encoder, column) for column in columns) == shape
        assert preset.objective.generator_width == pytest.approx(width)
        assert preset.objective.mask_rate == masked
        assert preset.optimizer.learning_rate == rate
        assert (phase.rows, phase.steps, phase.length) == (rows, steps, length)
        assert preset.schedule.warmup == 10_000
