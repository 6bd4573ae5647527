"""What tests of hpcgate and of its plugins build on: fakes, and the conformance kit."""
