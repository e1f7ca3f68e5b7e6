"""Steps as pods: one pod per attempt, launched and left to itself; no worker waits for it.

`executor` launches (a `manifest` from the step document and the `templates`), the watcher (`workers.watcher`) follows
the pods with an `informer`, and `endings` says what became of one (`causes`) and makes that durable. `cluster` is the
only module that talks to the Kubernetes client. `labels` says how a pod names the attempt that it is.
"""
