"""RVRT and RVRT Light, written once against the primitives of :mod:`rvrt_cli.backend`.

Import :mod:`rvrt_cli.model.config` freely; importing :mod:`rvrt_cli.model.rvrt` binds the process to the backend
chosen with :func:`rvrt_cli.backend.select`.
"""
