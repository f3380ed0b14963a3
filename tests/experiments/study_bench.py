"""Studies in a directory, trained in this process."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import torch
from compare_bench import Bench

from ld4mrec_cli.experiments.compare.systems import read_systems, shared_dataset
from ld4mrec_cli.experiments.study.execute import carry_out
from ld4mrec_cli.experiments.study.outcome import Outcome
from ld4mrec_cli.experiments.study.plan import StudyPlan
from ld4mrec_cli.experiments.study.prepare import plan_study
from ld4mrec_cli.experiments.study.report import Report
from ld4mrec_cli.experiments.study.request import Request
from ld4mrec_cli.experiments.study.studies import STUDIES


@dataclass
class StudyBench(Bench):
    """Makes configuration files and studies in a directory."""

    def plan(
        self, name, configs=(), models=(), *, seeds=(0,), split="test", out=None, **options
    ) -> StudyPlan:
        flags = {"data.path": str(self.data), "training.device": "cpu"}
        systems = read_systems(configs, models, (), flags, minimum=1)
        request = Request(systems, shared_dataset(systems), **options)
        place, device = self.root / (out or name), torch.device("cpu")
        command = f"ld4mrec study {name}"
        return plan_study(STUDIES[name], request, seeds, split, "ndcg@20", device, place, command)

    def study(self, name, *arguments, **options) -> tuple[Outcome, Report]:
        plan = self.plan(name, *arguments, **options)
        return carry_out(plan, STUDIES[name].report, self.said.append, self.train)

    def json(self, out) -> dict[str, Any]:
        return json.loads((self.root / out / "study.json").read_text())
