"""The commands of ``nasi-ray``, one module each: ``main(argv)`` parses, runs the job, prints."""
