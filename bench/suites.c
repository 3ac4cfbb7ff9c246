// SPDX-License-Identifier: Apache-2.0
//
// core40: the convolutions that the backbones are made of, large to small, with the tails, strides and groups that occur; four
// more are `extended`. quick12 is a dozen of core40 that is done in seconds. Batch 1; --mb sweeps.

#include "suites.h"

#include <string.h>

enum { QUICK = true, EXTENDED = true };

static const suite_case cases[] = {
    // clang-format off
    {"mb1ic3ih224oc64oh224kh3ph1n\"stem3x3s1_c3\"",            0,        0, "VGG conv1_1"},
    {"mb1ic3ih224oc64oh112kh7sh2ph3n\"stem7x7s2_c3\"",     QUICK,        0, "ResNet/DenseNet/GoogLeNet conv1"},
    {"mb1ic3ih224oc32oh112kh3sh2ph1n\"stem3x3s2_c3\"",         0,        0, "RegNet/MobileNet/GhostNet/Inception-style stem"},
    {"mb1ic32ih320oc64oh320kh3ph1n\"pp_stem3\"",               0,        0, "PP-YOLOE-L stem conv3 (640 input)"},
    {"mb1ic64ih224oc64oh224kh3ph1n\"vgg_c1_2\"",           QUICK,        0, "VGG conv1_2"},
    {"mb1ic128ih112oc128oh112kh3ph1n\"vgg_c2_2\"",             0,        0, "VGG conv2_2"},
    {"mb1ic256ih56oc256oh56kh3ph1n\"vgg_c3_2\"",               0,        0, "VGG conv3_2.."},
    {"mb1ic512ih28oc512oh28kh3ph1n\"vgg_c4_2\"",           QUICK,        0, "VGG conv4_2.."},
    {"mb1ic512ih14oc512oh14kh3ph1n\"vgg_c5_x\"",           QUICK,        0, "VGG conv5_x"},
    {"mb1ic64ih56oc64oh56kh3ph1n\"rn_2b\"",                QUICK,        0, "ResNet res2 3x3"},
    {"mb1ic128ih28oc128oh28kh3ph1n\"rn_3b\"",                  0,        0, "ResNet res3 3x3"},
    {"mb1ic256ih14oc256oh14kh3ph1n\"rn_4b\"",                  0,        0, "ResNet res4 3x3"},
    {"mb1ic512ih7oc512oh7kh3ph1n\"rn_5b\"",                QUICK,        0, "ResNet res5 3x3"},
    {"mb1ic64ih56oc192oh56kh3ph1n\"gl_c2_3x3\"",               0,        0, "GoogLeNet conv2/3x3"},
    {"mb1ic96ih14oc208oh14kh3ph1n\"gl_4a_3x3\"",               0,        0, "GoogLeNet inception_4a/3x3"},
    {"mb1ic128ih56oc32oh56kh3ph1n\"dn_grow56\"",               0,        0, "DenseNet-121 block1 growth conv"},
    {"mb1ic256ih200iw304oc256oh200ow304kh3kw3ph1pw1n\"fpn_p2\"",     0,        0, "FPN P2 smoothing, 800x1216 input (rect)"},
    {"mb1ic256ih25iw38oc256oh25ow38kh3kw3ph1pw1n\"fpn_p5\"",     QUICK,        0, "FPN P5 smoothing, 800x1216 input (rect)"},
    {"mb1ic128ih52oc128oh52kh3ph1n\"csp_52\"",                 0,        0, "CSPDarknet53 stage3 3x3, 416 input"},
    {"mb1ic192ih14oc192oh14kh3ph1n\"rv_a0_s3\"",               0,        0, "RepVGG-A0 stage3 (x13)"},
    {"mb1ic192ih40oc192oh40kh3ph1n\"pp_40\"",                  0,        0, "PP-YOLOE-L CSPResNet stage3"},
    {"mb1ic96ih80oc96oh80kh3ph1n\"pp_80\"",                    0,        0, "PP-YOLOE-L CSPResNet stage2"},
    {"mb1ic128ih56oc128oh28kh3sh2ph1n\"rn15_3x3s2\"",      QUICK,        0, "ResNet v1.5 res3a 3x3/2"},
    {"mb1ic64ih320oc96oh160kh3sh2ph1n\"pp_down\"",             0,        0, "PP-YOLOE-L conv_down stage1"},
    {"mb1ic64ih56oc256oh56kh1n\"rn_2c\"",                  QUICK,        0, "ResNet res2 1x1 expand"},
    {"mb1ic256ih56oc64oh56kh1n\"rn_2a\"",                      0,        0, "ResNet res2 1x1 reduce"},
    {"mb1ic256ih14oc1024oh14kh1n\"rn_4c\"",                    0,        0, "ResNet res4 1x1 expand"},
    {"mb1ic512ih7oc2048oh7kh1n\"rn_5c\"",                  QUICK,        0, "ResNet res5 1x1 expand"},
    {"mb1ic256ih56oc512oh28kh1sh2n\"rn_3proj\"",               0,        0, "ResNet res3a projection 1x1/2"},
    {"mb1ic512ih14oc512oh14kh1n\"mb_pw14\"",                   0,        0, "MobileNet-v1 pointwise"},
    {"mb1ic992ih14oc128oh14kh1n\"dn_1x1_late\"",               0,        0, "DenseNet-121 block3 last bottleneck"},
    {"mb1ic512ih14oc24oh14kh1n\"gl_oc24\"",                    0,        0, "GoogLeNet inception_4b/5x5_reduce (oc tail)"},
    {"mb1ic40ih28oc60oh28kh1n\"gh_prim28\"",                   0,        0, "GhostNet primary 1x1 (oc tail 60)"},
    {"mb1ic32ih28oc96oh28kh5ph2n\"gl_5x5\"",                   0,        0, "GoogLeNet inception_3b/5x5"},
    {"mb1ic128ih17iw17oc128oh17ow17kh1kw7ph0pw3n\"iv3_1x7\"",          0,        0, "Inception-v3 1x7"},
    {"g32mb1ic128ih56oc128oh56kh3ph1n\"rx50_g32\"",        QUICK,        0, "ResNeXt-50 32x4d res2"},
    {"g20mb1ic320ih14oc320oh14kh3ph1n\"ry800_s3\"",            0,        0, "RegNetY-800MF stage3 (g=20, 16ch/group)"},
    {"g32mb1ic32ih112oc32oh112kh3ph1n\"mb_dw112\"",            0,        0, "MobileNet-v1 dw s1"},
    {"g512mb1ic512ih14oc512oh14kh3ph1n\"mb_dw14\"",        QUICK,        0, "MobileNet-v1 dw s1 (x5)"},
    {"g72mb1ic72ih56oc72oh28kh5sh2ph2n\"gh_dw5s2\"",           0,        0, "GhostNet dw5x5 s2"},
    {"mb1ic512ih28oc128oh28kh1n\"rn_3a\"",                     0, EXTENDED, "ResNet res3 1x1 reduce"},
    {"mb1ic128ih14oc32oh14kh3ph1n\"dn_grow14\"",               0, EXTENDED, "DenseNet-121 block3 growth conv"},
    {"g64mb1ic64ih112oc64oh56kh3sh2ph1n\"mb_dw56s2\"",         0, EXTENDED, "MobileNet-v1 dw s2"},
    {"mb1ic512ih28oc512oh28kh3ph2dh1n\"dl_d2\"",               0, EXTENDED, "dilated res5 (DeepLab / RFCN style)"},
    // clang-format on
};

size_t suite_count(void) { return sizeof cases / sizeof *cases; }
const suite_case *suite_at(size_t i) { return &cases[i]; }

bool suite_has(const char *suite, const suite_case *c) {
  if (!strcmp(suite, "quick12")) return c->quick;
  if (!strcmp(suite, "core40")) return !c->extended;
  return !strcmp(suite, "extended") && c->extended;
}
