"""The steps that bring a database to the present tables, one numbered file each.

A file that was released is never changed. It declares frozen copies of the tables as they were then.
"""
