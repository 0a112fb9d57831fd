// Copyright The Penstock Authors
// SPDX-License-Identifier: Apache-2.0

package bucket

import "strings"

// aliyunConfig is the config section of type ALIYUNOSS.
type aliyunConfig struct {
	Endpoint        string `yaml:"endpoint"`
	Bucket          string `yaml:"bucket"`
	AccessKeyID     string `yaml:"access_key_id"`
	AccessKeySecret Secret `yaml:"access_key_secret"`
}

// parseAliyun translates the section to that of OSS' S3-compatible endpoint: oss-<region>.aliyuncs.com becomes
// s3.oss-<region>.aliyuncs.com, which wants the bucket's name in the host.
func parseAliyun(content []byte) (*S3Config, error) {
	var oss aliyunConfig
	if _, err := decodeFile(content, &oss); err != nil {
		return nil, err
	}
	switch {
	case oss.Bucket == "":
		return nil, missingKey("bucket", "config", "the name of the bucket")
	case oss.Endpoint == "":
		return nil, missingKey("endpoint", "config", "the endpoint of the region, such as oss-cn-hangzhou.aliyuncs.com")
	case oss.AccessKeyID == "":
		return nil, missingKey("access_key_id", "config", "the id of the access key")
	case oss.AccessKeySecret == "":
		return nil, missingKey("access_key_secret", "config", "the secret of the access key")
	}
	cfg := DefaultS3Config()
	cfg.Bucket, cfg.Endpoint = oss.Bucket, oss.Endpoint
	cfg.AccessKey, cfg.SecretKey = oss.AccessKeyID, oss.AccessKeySecret
	cfg.BucketLookupType = lookupVirtual
	if err := cfg.normalise(); err != nil {
		return nil, err
	}
	host := strings.TrimPrefix(cfg.Endpoint, "s3.")
	if name, ok := strings.CutPrefix(host, "oss-"); ok && strings.HasSuffix(host, ".aliyuncs.com") {
		cfg.Endpoint = "s3." + host
		region, _, _ := strings.Cut(name, ".")
		cfg.Region = strings.TrimSuffix(region, "-internal")
	}
	return &cfg, nil
}
