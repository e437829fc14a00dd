"""Writes levels.json: distances between distributions, by popfidelity. Needs it only here.

pip download popfidelity==0.1.2 --no-deps -d WHEEL; unzip WHEEL/*.whl -d PEER
PYTHONPATH=PEER python levels.py > levels.json
"""

from __future__ import annotations

import json
from importlib.metadata import version

import numpy as np
from popfidelity.metrics import distance


def main() -> None:
    rng = np.random.default_rng(0)
    cases = []
    for options in (2, 3, 4, 5, 7, 10, 11):
        people, model = rng.dirichlet(np.full(options, 0.7), size=(2, 4))
        model[0] = people[0]  # nothing apart
        people[1], model[1] = np.eye(options)[0], np.eye(options)[-1]  # as far apart as can be
        cases.append(
            {
                "people": people.tolist(),
                "model": model.tolist(),
                "nemd": distance(people, model, "nemd").tolist(),
                "total_variation": distance(people, model, "total_variation").tolist(),
            }
        )
    lines = ",\n".join(map(json.dumps, cases))
    print(f'{{"made_by": {json.dumps({"popfidelity": version("popfidelity")})}, "cases": [\n{lines}\n]}}')


if __name__ == "__main__":
    main()
