"""Running on a SLURM cluster: leases, the site's settings, checks before the first job, and the executor's behaviour."""
