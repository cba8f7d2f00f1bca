import sys
from pathlib import Path

import pytest
import threadpoolctl

# The reference is a plain module beside the tests, not a part of the package.
sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def one_blas_thread():
    """The reference's dot products must not depend on the machine.

    OpenBLAS splits those of more than 10,000 terms over its threads.
    """
    with threadpoolctl.threadpool_limits(1):
        yield
