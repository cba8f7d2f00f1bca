import pytest
import threadpoolctl


@pytest.fixture(autouse=True)
def one_blas_thread():
    """The reference's dot products must not depend on the machine.

    OpenBLAS splits those of more than 10,000 terms over its threads.
    """
    with threadpoolctl.threadpool_limits(1):
        yield
