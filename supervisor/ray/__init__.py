"""Models on the machines of a Ray cluster (``arriero[ray]``).

Lowest first:

    words    What the supervisor and a tether say to each other. Pure.
    demand   What a start needs of a machine; why none has it. Pure.
    cluster  The only file that imports Ray.
    actor    Holds the place on a node, and runs the agent there.
    agent    The process on the node: runs the server, for as long as it is held.
    tether   The process beside the supervisor: stands for the server, and holds it.
    bridge   The process that asks Ray for places.

Ray says where a model runs, and which nodes are there; who runs is the engine's. Of what is secret
nothing goes through Ray: tether and agent each make a pair of keys for a start, and Ray carries the
public halves. The command and its environment go from tether to agent.

A server ends with its agent, an agent with its actor (whose node Ray watches) or without a word of
its tether, and a tether with the supervisor, unless it is kept for the next one as the processes of
other models are.
"""
