"""Segmentation of a scene (numpy): clusters of pixels by features and place, their scores, and lesion masks from them."""
