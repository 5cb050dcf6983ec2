"""The store of many machines: etcd, by a client of our own over gRPC and etcd's published v3 protocol.

================  ====================================================================================
module            what it is
================  ====================================================================================
``rpc.proto``     the part of etcd's API that is used; ``rpc_pb2`` is made of it
``wire``          pure: between the contract's nouns and the protocol's messages
``batch``         pure: which waiting commits may share one transaction
``judge``         pure: what an error of etcd means for whoever asked
``settings``      pure: what is wrong with how a server is set up
``inspection``    what a server tells of that over HTTP
``rpc``           channels and calls
``members``       which member is asked, fail-over, logging in
``committer``     group commit
``watching``      one watch, resumed wherever it broke off
``keeper``        leases, renewed from a thread of their own
``housekeeping``  a look at the server every few seconds; dropping its history
``vitals``        how all this does: what is counted, and what is wrong
``store``         the contract of `store.port` over these
================  ====================================================================================
"""
