package main

import (
	"runtime/debug"
	"strings"
	"testing"
)

func TestVersion(t *testing.T) {
	o := start(t)
	o.want("sessionctl ", "--version")
	o.want("sessionctl ", "stats", "--version")

	build := func(version string, settings ...debug.BuildSetting) *debug.BuildInfo {
		return &debug.BuildInfo{Main: debug.Module{Version: version}, Settings: settings}
	}
	revision := debug.BuildSetting{Key: "vcs.revision", Value: "fa02360"}
	for want, info := range map[string]*debug.BuildInfo{
		"sessionctl (unknown version)":                      nil,
		"sessionctl v1.2.3":                                 build("v1.2.3"),
		"sessionctl v1.2.3, revision fa02360":               build("v1.2.3", revision, debug.BuildSetting{Key: "vcs.modified", Value: "false"}),
		"sessionctl (devel), revision fa02360 with changes": build("(devel)", revision, debug.BuildSetting{Key: "vcs.modified", Value: "true"}),
	} {
		if got := version(info, info != nil); got != want || strings.Contains(got, "\n") {
			t.Errorf("the version is %q; want %q", got, want)
		}
	}
}
