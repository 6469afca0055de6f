"""What the machine is, and what it does: facts and samples, not only memory.

What looks at the machine takes its root folder, or its library, as an argument. Lowest first:

    sensors   What GPUs tell of themselves beside their memory.
    samples   Samples of processors, memory and network.
    hardware  What the machine is.
    monitor   Takes samples, and keeps those of an hour.
"""
