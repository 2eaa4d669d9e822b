"""Hub as a guide, in tests: read test_1_publish.py, test_2_live.py, test_3_webhooks.py in this order.

Everything here goes through the front door: a running hub (the fixture `hub`: a store, two web processes, a worker),
and clients that anybody could have written: httpx, websockets, and the package standardwebhooks.
"""
