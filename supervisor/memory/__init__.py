"""Memory of the machine: devices, sizes of models, reservations, and victims.

What looks at the machine takes its root folder, or its library, as an argument. Lowest first:

    sizes           Bytes per device, and where a size comes from.
    devices         Budgets and readings -> the room that models may use.
    ram             Reads main memory, with the limits of control groups.
    sysfs_gpus      Finds GPUs of AMD and Intel; no library, no context.
    nvidia_gpus     Finds GPUs of NVIDIA, by NVML.
    process_memory  Memory of the processes of a model.
    probe           All of these in one look.
    buffer_lines    Buffer sizes in the log of llama-server.
    estimate        Size of a model that never ran, from its files and options.
    learned         Sizes of earlier runs, by command.
    learned_file    The file of learned sizes.
    ledger          Reservations; memory that has not come back yet; held devices.
    victims         The cheapest set of models that makes room.
    policy          The placement policy where memory decides.
"""
