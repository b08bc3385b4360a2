"""The work of ``zipspark entropy``: each command as a function of its options that returns what is printed.

::

    logs     measure_to   R of tables, on Spark              log_to      a row of the version log
    law      fit_to       the law over a log                 check_to    a version against those before it
    curves   curves_to    trainings side by side             predict_to  the loss of a run that was not made

What is measured and fitted stands in `zipspark.entropy`, which Python users call directly. Spark is started for tables
and for logs in Delta alone.
"""

from zipspark.entropy_jobs.curves import curves_to, predict_to
from zipspark.entropy_jobs.law import check_to, fit_to
from zipspark.entropy_jobs.logs import log_to, measure_to

__all__ = ["check_to", "curves_to", "fit_to", "log_to", "measure_to", "predict_to"]
