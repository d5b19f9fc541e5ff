"""What customers are told: an order's answer, the evidence for it, and its story.

Any system answers from what it holds, and says what that is. Nothing here changes a record.
"""
