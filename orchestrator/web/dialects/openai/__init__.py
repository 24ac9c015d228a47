"""OpenAI's images, videos and models APIs."""
