"""Bytes and revisions: one small contract (`store.port`), several implementations, one test suite over them all.

Keyspace (``1`` is the layout's version; names hold neither slash nor dot, so keys can be taken apart):

=============================================  ============================================  =====================
key                                            value                                         written by
=============================================  ============================================  =====================
``/h/1/ctl/meta/cluster``                      the cluster's id and incarnation              the first server
``/h/1/ctl/meta/copying``                      who brings a registry into this store         `store.arrival`
``/h/1/ctl/jobs/<ns>/<job>``                   `model.job.Job`                               the registry
``/h/1/ctl/versions/<ns>/<job>/<version>``     `model.job.Version`                           the registry
``/h/1/ctl/placements/<agent>/<task>``         `model.task.Placement`                        the scheduler
``/h/1/ctl/slots/<ns>/<job>/<slot>``           `model.task.Occupant`, if it is exclusive     the scheduler
``/h/1/ctl/pending/<ns>/<job>``                `model.decision.Pending`: slots not placed    the scheduler
``/h/1/ctl/rollouts/<ns>/<job>``               `model.rollout.RolloutRecord`                 scheduler, operators
``/h/1/ctl/batches/<ns>/<job>``                `model.batch.BatchRecord`                     the scheduler
``/h/1/ctl/cron/<ns>/<job>``                   `model.cron.CronRecord`, of a cron job        scheduler, operators
``/h/1/ctl/agents/<agent>``                    `model.agent.Agent`                           the registry
``/h/1/ctl/links/<agent>``                     `model.agent.Link`                            the shepherd
``/h/1/ctl/actual/<agent>/<task>``             `model.task.Task`; on transitions only        the shepherd
``/h/1/ctl/cordons/<agent>``                   `model.agent.Cordon`                          `control.cordons`
``/h/1/ctl/dead/<agent>``                      `model.agent.Death`                           `control.cordons`
``/h/1/ctl/quotas/<ns>``                       `model.namespace.Namespace`, if declared      `control.quotas`
``/h/1/ctl/secrets/<ns>/<name>``               `model.secret.Secret`, encrypted              `control.secrets`
``/h/1/ctl/workflows/<ns>/<name>``             `model.workflow.WorkflowRecord`               `control.workflows`
``/h/1/ctl/graphs/<ns>/<name>/<generation>``   `model.workflow.GraphRecord`                  `control.generations`
``/h/1/ctl/awaited/<ns>/<run>``                `model.awaited.AwaitedRun`: jobs wait for it  `control.awaiting`
``/h/1/ctl/orders/<ns>/<run>/…``               `model.owner.OrderRecord`: of an attempt      `control.attempt_jobs`
``/h/1/ctl/moves/<agent>/<task>``              `model.rebalance.MoveRecord`                  `control.rebalancing`
``/h/1/ctl/disowned/<agent>/<task>``           `model.task.Disowned`; goes with the task     an operator
``/h/1/ctl/idem/<hash of the key>``            `model.receipt.Receipt`; bounded, for 24 h    `control.receipts`
``/h/1/ctl/instances/<instance>``              `model.instance.Instance`, leased             each for itself
``/h/1/ctl/holds/<name>``                      `model.instance.Holder`, leased               `store.hold`
``/h/1/run/keyed/…``                           signals by key; see `control.keyed_records`   `control.keyed_signals`
``/h/1/run/…``                                 runs; see `control.ledger_records`            `control.ledger`
=============================================  ============================================  =====================
"""
