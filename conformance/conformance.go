// Package conformance holds the trials: whole nodes, started as a user starts
// them, against cameras, viewers and browsers of foreign make, cut cables and
// kill -9. It exports nothing; everything is in its tests. A peer that the
// machine lacks is named and skipped, or is a failure when BARTIZAN_PEERS is
// "required", as `make test` sets it.
package conformance
