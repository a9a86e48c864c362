"""The graph behind a process: what AiiDA says node by node, read in few queries."""

import pytest
from aiida import orm
from aiida.common.links import LinkType

from aiida_slhmc.provenance.graph import closure, descendants, returned


@pytest.fixture(scope="module")
def graph(analytic_run):
    return closure(analytic_run)


def test_the_closure_has_all_that_was_called_and_made_and_what_that_came_from(analytic_run, graph):
    given_to, made_by = (LinkType.INPUT_CALC, LinkType.INPUT_WORK), (LinkType.CREATE, LinkType.RETURN)
    processes = [analytic_run, *analytic_run.called_descendants]
    called = {process.pk for process in processes}
    made, given = set(), set()
    for process in processes:
        links = process.base.links
        made |= {node.pk for node in links.get_outgoing(link_type=made_by).all_nodes()}
        given |= {node.pk for node in links.get_incoming(link_type=given_to).all_nodes()}
    assert called | made == set(descendants(analytic_run))
    assert set(graph.nodes) == called | made | given


def test_neighbours_are_those_that_aiida_names(analytic_run, graph):
    for node in graph.nodes.values():
        if isinstance(node, orm.ProcessNode):
            assert graph.caller(node) == node.caller
            links = node.base.links.get_incoming(link_type=(LinkType.INPUT_CALC, LinkType.INPUT_WORK))
            assert {name: data.pk for name, data in graph.inputs(node).items()} == {
                link.link_label: link.node.pk for link in links
            }
            made = node.base.links.get_outgoing(link_type=LinkType.CREATE).all_nodes()
            assert {data.pk for data in graph.created(node)} == {data.pk for data in made}
        else:
            creator = node.creator
            assert (graph.creator(node) or None) == creator


def test_the_closure_goes_back_to_what_other_runs_made(aiida_profile):
    """A node that another process made, and that process's own input."""
    source, made = orm.Int(1).store(), orm.Int(2)
    other = orm.CalcFunctionNode()
    other.base.links.add_incoming(source, LinkType.INPUT_CALC, "source")
    other.store()
    made.base.links.add_incoming(other, LinkType.CREATE, "result")
    made.store()
    root = orm.WorkChainNode()
    root.base.links.add_incoming(made, LinkType.INPUT_WORK, "start")
    root.store()
    # A result that is only pointed at, and what another workflow does with the same input.
    stranger = orm.WorkChainNode()
    stranger.base.links.add_incoming(made, LinkType.INPUT_WORK, "start")
    stranger.store()
    made.base.links.add_incoming(root, LinkType.RETURN, "end")
    assert set(closure(root).nodes) == {root.pk, made.pk, other.pk, source.pk}
    assert returned([root]) == {(root.pk, "end"): made}
    assert returned([stranger]) == {}
