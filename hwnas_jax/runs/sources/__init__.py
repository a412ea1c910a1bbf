"""One search on data of several sources, its networks looked up in a table: what did data tell?"""
