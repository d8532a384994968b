"""Other packages on the same problem, each as its documentation recommends: `python -m benchmarks.peers`.

They need an environment of their own (`make peers`), because pyDVL asks for numpy < 2. Nothing else needs
them.
"""
