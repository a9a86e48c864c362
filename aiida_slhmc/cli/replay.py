"""``aiida-slhmc replay``: recompute and run again what a profile or an archive holds, and compare."""

from __future__ import annotations

import json
from typing import Any

import click

from .errors import InputError


@click.command()
@click.argument("pk")
@click.option("--all", "everything", is_flag=True, help="Run every step again.")
@click.option("--sample", type=click.IntRange(min=1), help="Run so many steps of each kind again, drawn at random.")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the draw [default: a new one, which is printed].")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def replay(
    context: click.Context, pk: str, everything: bool, sample: int | None, seed: int | None, as_json: bool
) -> None:
    """Recompute the process PK (or UUID) from what is stored, and compare; exit code 1 if anything differs.

    Of a run: every accept and reject, in seconds, without a model or an engine; with --sample or --all its steps are
    run again from their recorded inputs. Of a step (a proposal, a label, a training, ...): the step itself.
    """
    if everything and sample is not None:
        raise InputError("--all and --sample exclude each other.")
    from .session import load, load_process

    load(context.obj["profile"], context.obj["path"])
    from aiida_slhmc.provenance.replay import replay as run_again

    node = load_process(pk)
    if not node.is_terminated:
        raise InputError(f"process {pk} has not ended.")

    def tell(one: Any) -> None:
        if not as_json and one.verdict != "identical":
            click.echo(f"{one.step} <{one.pk}>: {one.verdict}. {one.reason}".rstrip())

    report = run_again(node, everything=everything, sample=sample, seed=seed, on_step=tell)
    if as_json:
        click.echo(json.dumps(report.as_dict(), indent=2))
    else:
        click.echo("\n".join(lines(report)))
    if not report.passed:
        raise click.exceptions.Exit(1)


def lines(report: Any) -> list[str]:
    """Return a report in lines of text.

    :param report: of a replay.
    """
    found = []
    if report.chains is not None:
        chains = report.chains
        verdict = f"{len(chains.faults)} FAULTS" if chains.faults else "all as stored, to the bit"
        found.append(
            f"decisions   {chains.decisions} on {chains.chains} chains, {chains.accepted} accepted, "
            f"{chains.exchanges} swaps: {verdict}"
        )
        found += [f"  cycle {one.cycle} of chain {one.chain} <{one.pk}>: {one.message}" for one in chains.faults[:20]]
    if report.sampled is not None:
        found.append(
            f"sample      {report.sampled['of_each_kind']} steps of each kind, --seed {report.sampled['seed']}"
        )
    for step, counts in report.counts.items():
        found.append(f"{step:18} " + ", ".join(f"{count} {verdict}" for verdict, count in sorted(counts.items())))
    then: dict[str, set[str]] = {}
    for one in report.steps:
        for name, version in one.then.items():
            then.setdefault(name, set()).add(str(version))
    if then:
        found.append("versions then  " + ", ".join(f"{name} {' and '.join(sorted(v))}" for name, v in then.items()))
    found.append("versions now   " + ", ".join(f"{name} {version}" for name, version in report.now.items()))
    if report.passed:
        found.append(
            "replay passed" + (f"; {report.left_out} steps were not run, see above" if report.left_out else "")
        )
    else:
        found.append(f"replay FAILED; the first difference: {report.first}")
    return found
