"""What the WorkChains share: ports of a target, and one way to run a step locally or as a job."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from aiida import orm
from aiida.engine import CalcJob, ToContext, WorkChain

from aiida_slhmc.engine.exactly_once import ExactlyOnce, check_same

from . import settings


def validator(group: str) -> Callable[[Any, Any], str | None]:
    """Return a port validator for a group of settings.

    :param group: one of :data:`aiida_slhmc.workflows.settings.GROUPS`.
    """

    def validate(value: orm.Dict | None, _: Any) -> str | None:
        return None if value is None else settings.check(group, value.get_dict())

    return validate


def settings_port(spec: Any, group: str) -> None:
    """Declare the port of a group of settings.

    :param spec: process specification.
    :param group: name of the group and of the port.
    """
    help_text = "; ".join(f"{name}: {field.help}" for name, field in settings.GROUPS[group].items())
    spec.input(group, valid_type=orm.Dict, validator=validator(group), help=help_text)


def target_ports(spec: Any) -> None:
    """Declare the ports of a target: its level of theory and, for jobs, the code and its options.

    :param spec: process specification.
    """
    spec.input("target.level", valid_type=orm.Dict, validator=validate_level, help="Level of theory of the target.")
    spec.input("target.code", valid_type=orm.AbstractCode, required=False, help="Code that labels, for jobs.")
    spec.input("target.options", valid_type=dict, non_db=True, required=False, help="Scheduler options of the jobs.")


def worker_ports(spec: Any) -> None:
    """Declare the ports of the worker's jobs: its code and the scheduler options.

    :param spec: process specification.
    """
    spec.input("worker.code", valid_type=orm.AbstractCode, required=False, help="Code slhmc-worker, for jobs.")
    spec.input("worker.options", valid_type=dict, non_db=True, required=False, help="Scheduler options of the jobs.")


def start_ports(spec: Any, what: str, example: str) -> None:
    """Declare the ports of what a run starts from.

    :param spec: process specification.
    :param what: starts there: ``chain``, ``trajectory``.
    :param example: name of the first.
    """
    spec.input("structure", valid_type=orm.StructureData, help=f"Structure that every {what} starts from (Å).")
    spec.input_namespace(
        "structures",
        valid_type=orm.StructureData,
        dynamic=True,
        required=False,
        help=f"Starts of single ones ({example}, ...), in place of 'structure'.",
    )


def validate_level(level: orm.Dict | None, _: Any) -> str | None:
    """Validate the level of theory of a target.

    :param level: engine, functional, parameters.
    """
    from aiida_slhmc.targets.level import validate

    if level is None:
        return None
    try:
        validate(level.get_dict())
    except ValueError as error:
        return f"target.level: {error}"
    return None


class Steps(ExactlyOnce):
    """Give a WorkChain its steps: each child started once, whatever crashed in between."""

    def call_once_node(self, label: str, function: Any, /, **inputs: Any) -> orm.CalcFunctionNode:
        """Call a calcfunction and return its node, which may have failed; or adopt the one that already ended.

        :param label: call link label, unique among the children of this WorkChain.
        :param function: the calcfunction.
        :param inputs: its inputs by keyword.
        :returns: the terminated node.
        """
        for node in self._children(label):
            if node.is_finished:
                check_same(node, label, function.process_class.build_process_type(), inputs)
                return node
        _, node = function.run_get_node(**inputs, metadata={"call_link_label": label})
        return node


def dispatch(
    workchain: Steps,
    key: str,
    label: str,
    task: str,
    job: type[CalcJob],
    local: Callable[..., Any],
    inputs: dict[str, Any],
    *,
    code: orm.AbstractCode | None = None,
    options: dict[str, Any] | None = None,
) -> ToContext | None:
    """Run one step where the run's ``executor`` says, exactly once, and leave its node in the context.

    :param workchain: the WorkChain, with the mixin :class:`Steps`.
    :param key: where in the context the node goes.
    :param label: call link label: names the step within its WorkChain.
    :param task: name of the step in ``executor``.
    :param job: CalcJob for the executor ``job``.
    :param local: calcfunction for the executor ``local``.
    :param inputs: nodes that both take.
    :param code: code for the job.
    :param options: scheduler options for the job.
    :returns: what to wait for, if anything.
    """
    parent: Any = workchain
    if parent.inputs.executor.get_dict()[task] == "local":
        parent.ctx[key] = workchain.call_once_node(label, local, **inputs)
        return None
    builder = job.get_builder()
    builder.code = code
    for name, node in inputs.items():
        builder[name] = node
    builder.metadata.options = dict(options or {})
    return ToContext(**{key: workchain.submit_once(label, builder)})


def failed(node: orm.ProcessNode) -> str | None:
    """Return why a process failed, or None.

    :param node: a terminated process.
    """
    if node.is_finished_ok:
        return None
    if node.exit_message:
        return node.exit_message
    # Of the exception its last line; the module that its class comes from tells a user nothing.
    words = (node.exception or "").strip().splitlines()[-1:]
    reason = "".join(words).rpartition("exceptions.")[2]
    return f"process {node.pk} ended as {node.process_state.value}" + (f": {reason}" if reason else "")


def links(workchain: WorkChain, prefix: str) -> dict[str, orm.ProcessNode]:
    """Return the successful children of a WorkChain whose call link label has a prefix, by label.

    :param workchain: the parent.
    :param prefix: of the call link label.
    """
    found = workchain.node.base.links.get_outgoing(node_class=orm.ProcessNode).all()
    return {
        link.link_label: link.node for link in found if link.link_label.startswith(prefix) and link.node.is_finished_ok
    }
