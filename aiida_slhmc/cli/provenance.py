"""``aiida-slhmc pedigree`` and ``trust``: where a model comes from, and whether it may be loaded."""

from __future__ import annotations

import json
import re
from pathlib import Path

import click

from .errors import InputError


def _load(context: click.Context) -> None:
    from .session import load

    load(context.obj["profile"], context.obj["path"])


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--dot", "as_dot", is_flag=True, help="Print the lineage for Graphviz.")
@click.option("--svg", "as_svg", is_flag=True, help="Print the lineage as a picture.")
@click.option("--card", type=click.Path(path_type=Path), help="Write a model card (Markdown) to this file.")
@click.option("--weights", type=click.Path(path_type=Path),
              help="Write the model to this file, and its card beside it.")  # fmt: skip
@click.pass_context
def pedigree(
    context: click.Context, model: str, as_json: bool, as_dot: bool, as_svg: bool, card: Path | None,
    weights: Path | None,
) -> None:  # fmt: skip
    """Tell where MODEL comes from: parents, labels, seeds, versions, cost.

    MODEL is the PK or UUID of a model, or of a run: then it is the model that the run ended with.
    """
    _load(context)
    from aiida_slhmc.provenance import drawing
    from aiida_slhmc.provenance.card import model_card, summary
    from aiida_slhmc.provenance.pedigree import pedigree as trace

    from .session import load_model

    if sum((as_json, as_dot, as_svg)) > 1:
        raise InputError("--json, --dot and --svg exclude each other.")
    node = load_model(model)
    found = trace(node)
    if weights is not None:
        write(weights, node.get_content(mode="rb"))
        card = card or weights.with_suffix(".md")
    if card is not None:
        write(card, model_card(found).encode())
    if as_json:
        click.echo(json.dumps(found.as_dict(), indent=2))
    elif as_dot or as_svg:
        click.echo((drawing.dot if as_dot else drawing.svg)(found), nl=False)
    else:
        click.echo("\n".join(summary(found)))
        for path in (weights, card):
            if path is not None:
                click.echo(f"written: {path}")


@click.command()
@click.argument("what", nargs=-1)
@click.option("--list", "listing", is_flag=True, help="List what is trusted.")
@click.option("--remove", is_flag=True, help="Trust it no more.")
@click.option("--all", "everything", is_flag=True,
              help="Trust every model of the profile that no archive is known to have brought.")  # fmt: skip
@click.pass_context
def trust(context: click.Context, what: tuple[str, ...], listing: bool, remove: bool, everything: bool) -> None:
    """Say that the models WHAT may be loaded: loading one runs what its file says.

    WHAT is the PK or UUID of a model, or of a run (the models that it was given and made), or the SHA-256 of a model's
    file or of a level of theory. Models that were made here, and those that come with the package, need no word.
    """
    _load(context)
    from aiida_slhmc.data import trust as listed

    try:
        known = listed.entries()
    except ValueError as error:
        raise InputError(str(error)) from error
    if listing:
        for digest, row in sorted(known.items(), key=lambda item: item[1]["since"]):
            click.echo(f"{digest}  {row['what']:6} {row['since']}  {row['why']}")
        return
    if everything:
        for digest in listed.adopt():
            click.echo(f"trusted: {digest}")
        return
    if not what:
        raise InputError("name a model, a run or a SHA-256; --list shows what is trusted.")
    for digest, name, kind in [row for one in what for row in _contents(one)]:
        if remove:
            listed.distrust(digest)
        else:
            listed.trust([digest], kind)
        click.echo(f"{'no longer trusted' if remove else 'trusted'}: {digest}  {name}")


def _contents(identifier: str) -> list[tuple[str, str, str]]:
    """Return hash, name and kind of what an identifier names; no model is loaded for it.

    :param identifier: PK, UUID or SHA-256.
    :raises InputError: if it names nothing that can be trusted.
    """
    from aiida_slhmc.data.trust import LEVEL, MODEL

    from .session import load_models, with_level

    if re.fullmatch("[0-9a-f]{64}", identifier):
        level = with_level(identifier)
        return [(identifier, "" if level is None else f"level of theory, engine '{level['engine']}'",
                 MODEL if level is None else LEVEL)]  # fmt: skip
    return [(model.file_sha256, f"model <{model.pk}>", MODEL) for model in load_models(identifier)]


def write(path: Path, content: bytes) -> None:
    """Write a file.

    :param path: where to.
    :param content: what.
    :raises InputError: if it cannot be written.
    """
    try:
        path.write_bytes(content)
    except OSError as error:
        raise InputError(f"'{path}' cannot be written: {error.strerror}.") from error
