package node

import (
	"context"
	"time"

	"github.com/bartizan-vms/bartizan/api"
	"github.com/bartizan-vms/bartizan/vms"
	"github.com/bartizan-vms/bartizan/vms/camera"
)

// Discover looks for cameras from this machine, without a node. Nothing secret
// is sent to what answers.
func Discover(ctx context.Context, networks []string, within time.Duration) (api.DiscoveryResult, error) {
	d, err := camera.Finder("Bartizan").Discover(ctx, vms.DiscoverQuery{Networks: networks, Within: within})
	if err != nil {
		return api.DiscoveryResult{}, err
	}
	return api.DiscoveryOf(d), nil
}
