"""acecausal align."""

from __future__ import annotations

from pathlib import Path

import click

from cli.console import (
    SEED,
    asked_of,
    first_process,
    force_option,
    hold_out_option,
    model_differs_option,
    note,
    output_option,
    print_comparison,
    progress_bar,
    quiet_libraries,
    revision_option,
    template_arg_option,
)

#: What holds out a way of asking, by its template, order, marks, or some of them.
WORDING = "wording="
RERUN = "--resume goes on with a run that was cut off, --force starts anew"


@click.command()
@click.option("--model", "source", required=True, metavar="PATH|HUB_ID", help="A model folder, hub id, or .gguf file.")
@revision_option
@click.option("--cube", required=True, type=click.Path(path_type=Path), help="Survey cube to align to.")
@hold_out_option
@click.option(
    "--validate",
    multiple=True,
    metavar="DIM=LABELS",
    help="Cells, named as for --hold-out, that no loss sees and on which skill is measured after each pass: the best "
    "pass's adapter is kept, and the recipe's patience stops early. Can be given several times.",
)
@click.option(
    "--margins", type=click.Path(path_type=Path), metavar="FILE",
    help="Published marginals of what is held out: CSV with country, value, option, share, and, of groups, persona. "
    "Its levels are learnt from them, its effects from elsewhere.",
)  # fmt: skip
@click.option(
    "--keep-levels", is_flag=True, help="Train effects alone: what the model answers for everybody stays as it is."
)
@click.option("--recipe", default="default", show_default=True, metavar="NAME|FILE", help="How to train.")
@click.option("--passes", type=int, help="Passes over the lattices.  [default: the recipe's]")
@template_arg_option
@click.option("--seed", type=SEED, help="[default: the recipe's]")
@click.option("--tensorboard", is_flag=True, help="Write TensorBoard's files as well (extra tensorboard).")
@click.option("--resume", is_flag=True, help="Go on from the run's last whole checkpoint.")
@model_differs_option
@output_option("Folder for the adapter.")
@force_option
def align(
    source: str,
    revision: str | None,
    cube: Path,
    hold_out: tuple[str, ...],
    validate: tuple[str, ...],
    margins: Path | None,
    keep_levels: bool,
    recipe: str,
    passes: int | None,
    template_args: tuple[str, ...],
    seed: int | None,
    tensorboard: bool,
    resume: bool,
    model_differs: str,
    output: Path,
    force: bool,
) -> None:
    """Fine-tune a model (a LoRA adapter) until its effects match the cube's.

    \b
    acecausal align --model ./SmolLM2-135M-Instruct --cube human.zarr --hold-out country=USA -o adapter
    accelerate launch --multi_gpu --num_processes 2 .venv/bin/acecausal align ...
    """
    from acecausal.comparison import holdout
    from acecausal.cube.outputs import check_output

    if resume and force:
        raise click.UsageError("--resume and --force exclude each other.")
    if margins and keep_levels:
        raise click.UsageError("--margins and --keep-levels exclude each other.")
    if not resume and first_process():
        check_output(output, force=force, hint=RERUN)
    people = asked_of(cube)
    kept_back = [part for text in hold_out if text.startswith(WORDING) for part in text[len(WORDING) :].split(",")]
    held_out = holdout.parse([text for text in hold_out if not text.startswith(WORDING)], people)
    validation = holdout.parse(validate, people, "--validate")

    quiet_libraries()
    from align.prompting import chat
    from align.training.alignment import align as run
    from align.training.card import reasons
    from align.training.folder import beside
    from align.training.margins import read_margins
    from align.training.recipe import load_recipe

    if not resume and first_process():
        check_output(beside(output), force=force, hint=RERUN)
    chosen = load_recipe(recipe, passes=passes, seed=seed, kept_back=kept_back or None)
    told = chat.template_args(template_args)
    known = read_margins(margins, people, holdout.complete(held_out, people)) if margins else None
    with progress_bar("align") as step:
        result = run(
            source,
            people,
            chosen,
            output,
            revision=revision,
            held_out=held_out,
            validation=validation,
            margins=known,
            keep_levels=keep_levels,
            template_args=told,
            resume=resume,
            model_differs=model_differs == "ok",
            tensorboard=tensorboard,
            progress=step,
            say=note if first_process() else lambda text: None,
        )
    if not first_process():
        return
    print_comparison("before", result.comparison_before)
    print_comparison("after", result.comparison_after)
    if result.elsewhere:
        print_comparison("before, in wordings never trained on", result.elsewhere.comparison_before)
        print_comparison("after, in wordings never trained on", result.elsewhere.comparison_after)
    for name, change in result.besides.items():
        note(f"{name.replace('_', ' ')}: {change['before']:.3f} before, {change['after']:.3f} after")
    trained, left_out = result.record["trained_on"], result.record["left_out"]
    note(
        f"trained on {trained['lattices']} lattices, {trained['responses']} responses, {trained['edges']} edges; "
        f"left out: responses {reasons(left_out['responses'])}; edges {reasons(left_out['edges'])}"
    )
    if result.note:
        note(result.note)
    note(f"{output}: adapter, README.md, metrics.jsonl; held out: {holdout.in_words(result.record['held_out'])}")
