"""Pre-train text encoders by replaced token detection (ELECTRA), and hand over checkpoints that anyone can load.

Every command is a function here, with a config class: ``electra.pretrain(electra.PretrainConfig(data=…, out=…))`` is
``electra pretrain --data … --out …``. Two have other names: ``electra import`` is ``import_checkpoint``, since Python
keeps the word for itself; ``electra report`` is ``write_report``, since ``electra.report`` is a part of the program.
``electra.load(folder).encode(texts)`` gives a vector for each text; ``electra.add_objective`` makes a class of your own
an objective. What cannot be done raises ``electra.UserError``. A name is imported when it is first used: importing the
package takes no time.
"""

from importlib import import_module
from typing import TYPE_CHECKING

__version__ = "0.1.0"

if TYPE_CHECKING:  # for editors and type checkers; as it runs, PUBLIC says where a name is
    from electra.corpus.prepare import PrepareConfig as PrepareConfig
    from electra.corpus.prepare import prepare as prepare
    from electra.corpus.train_tokenizer import TokenizerConfig as TokenizerConfig
    from electra.corpus.train_tokenizer import tokenizer as tokenizer
    from electra.errors import UserError as UserError
    from electra.objectives.build import add_objective as add_objective
    from electra.tasks.frozen.text_encoder import Encoder as Encoder
    from electra.tasks.frozen.text_encoder import load as load
    from electra.workflows.bench.bench import BenchConfig as BenchConfig
    from electra.workflows.bench.bench import bench as bench
    from electra.workflows.compare.compare import compare as compare
    from electra.workflows.compare.plan import CompareConfig as CompareConfig
    from electra.workflows.data import DataConfig as DataConfig
    from electra.workflows.data import data as data
    from electra.workflows.demo.demo import DemoConfig as DemoConfig
    from electra.workflows.demo.demo import demo as demo
    from electra.workflows.detect import DetectConfig as DetectConfig
    from electra.workflows.detect import detect as detect
    from electra.workflows.evaluate import EvaluateConfig as EvaluateConfig
    from electra.workflows.evaluate import evaluate as evaluate
    from electra.workflows.export import ExportConfig as ExportConfig
    from electra.workflows.export import export as export
    from electra.workflows.finetune import FinetuneConfig as FinetuneConfig
    from electra.workflows.finetune import finetune as finetune
    from electra.workflows.import_ import ImportConfig as ImportConfig
    from electra.workflows.import_ import import_checkpoint as import_checkpoint
    from electra.workflows.inspect import InspectConfig as InspectConfig
    from electra.workflows.inspect import inspect as inspect
    from electra.workflows.plan import PlanConfig as PlanConfig
    from electra.workflows.plan import plan as plan
    from electra.workflows.pretrain import pretrain as pretrain
    from electra.workflows.pretraining.config import PretrainConfig as PretrainConfig
    from electra.workflows.report import ReportConfig as ReportConfig
    from electra.workflows.report import write_report as write_report
    from electra.workflows.score import ScoreConfig as ScoreConfig
    from electra.workflows.score import score as score
    from electra.workflows.status import StatusConfig as StatusConfig
    from electra.workflows.status import status as status

PUBLIC = {  # name → module:attribute
    "demo": "electra.workflows.demo.demo:demo",
    "DemoConfig": "electra.workflows.demo.demo:DemoConfig",
    "tokenizer": "electra.corpus.train_tokenizer:tokenizer",
    "TokenizerConfig": "electra.corpus.train_tokenizer:TokenizerConfig",
    "prepare": "electra.corpus.prepare:prepare",
    "PrepareConfig": "electra.corpus.prepare:PrepareConfig",
    "data": "electra.workflows.data:data",
    "DataConfig": "electra.workflows.data:DataConfig",
    "pretrain": "electra.workflows.pretrain:pretrain",
    "PretrainConfig": "electra.workflows.pretraining.config:PretrainConfig",
    "status": "electra.workflows.status:status",
    "StatusConfig": "electra.workflows.status:StatusConfig",
    "evaluate": "electra.workflows.evaluate:evaluate",
    "EvaluateConfig": "electra.workflows.evaluate:EvaluateConfig",
    "finetune": "electra.workflows.finetune:finetune",
    "FinetuneConfig": "electra.workflows.finetune:FinetuneConfig",
    "compare": "electra.workflows.compare.compare:compare",
    "CompareConfig": "electra.workflows.compare.plan:CompareConfig",
    "inspect": "electra.workflows.inspect:inspect",
    "InspectConfig": "electra.workflows.inspect:InspectConfig",
    "score": "electra.workflows.score:score",
    "ScoreConfig": "electra.workflows.score:ScoreConfig",
    "detect": "electra.workflows.detect:detect",
    "DetectConfig": "electra.workflows.detect:DetectConfig",
    "export": "electra.workflows.export:export",
    "ExportConfig": "electra.workflows.export:ExportConfig",
    "import_checkpoint": "electra.workflows.import_:import_checkpoint",
    "ImportConfig": "electra.workflows.import_:ImportConfig",
    "bench": "electra.workflows.bench.bench:bench",
    "BenchConfig": "electra.workflows.bench.bench:BenchConfig",
    "plan": "electra.workflows.plan:plan",
    "PlanConfig": "electra.workflows.plan:PlanConfig",
    "write_report": "electra.workflows.report:write_report",
    "ReportConfig": "electra.workflows.report:ReportConfig",
    "load": "electra.tasks.frozen.text_encoder:load",
    "Encoder": "electra.tasks.frozen.text_encoder:Encoder",
    "add_objective": "electra.objectives.build:add_objective",
    "UserError": "electra.errors:UserError",
}

__all__ = ["__version__", *PUBLIC]


if not TYPE_CHECKING:  # for which any name would be there

    def __getattr__(name: str) -> object:
        """Import a public name (PEP 562)."""
        if name not in PUBLIC:
            raise AttributeError(f"module 'electra' has no attribute {name!r}")
        module, _, attribute = PUBLIC[name].partition(":")
        return getattr(import_module(module), attribute)


def __dir__() -> list[str]:
    """The public names, imported or not."""
    return sorted({*globals(), *PUBLIC})
