"""The small words of Korean and English: what is cut off, what is left out, what only asks."""
# ruff: noqa: SIM905 - as literals these lists would be pages of quotation marks

PARTICLES = frozenset(
    """
    은 는 이 가 을 를 의 에 로 와 과 도 만 나 란 야 요 께
    에서 에게 한테 으로 까지 부터 보다 처럼 마다 밖에 조차 마저 하고 이나 이란 라는 라고 라도 이고 이며
    이야 예요 에는 에도 에만 로는 로도 와는 과는 와의 과의 만의 이면 점 들 씩 인가 인지 이다 인데 이랑 대로
    이라는 이라고 이라도 이라면 에서는 에서도 에서의 에게서 으로는 으로도 으로서 으로써 로부터 부터는 까지는 보다는
    이에요 입니다 인가요 일까요 이란게 이라는게 입니까
    """.split()
)
ENDINGS = frozenset(
    """
    다 고 며 면 게 던
    하다 하는 하고 하기 하면 하며 하지 하게 해서 해야 해도 해요 한다 했다 할까 하나 하던 하여 하려
    되다 되는 되고 되기 되면 되며 되지 되게 돼서 돼요 된다 됐다 될까 되나 되어
    나요 까요 니까 네요 어요 아요 는지 는데 는가 려면 려고 면서 지만 거나 도록 어서 아서 어야 아야 습니다
    하나요 하려면 할까요 하세요 합니다 했는데 하는지 하는데 해주는 하도록 하면서
    되나요 되려면 될까요 됩니다 되는지 되는데 되도록 습니까 으려면 으려고 으면서 은가요 는가요 을까요
    """.split()
)
VERB_LIKE = tuple(
    """
    나요 까요 니까 네요 어요 아요 해요 세요 는지 는가 려면 려고 면서 지만 거나 도록 어서 아서 해서 해야 어야 아야
    하는 하다 하고 하면 하기 하지 한다 할까 하나 합니다 되는 되다 되고 되면 되지 된다 될까 되나 됩니다 습니다
    세요 라요 려요 워요 와요 져요 써요 나게 하게 다른 같은 있는 없는 나는 주는
    """.split()
)
STOP_WORDS = frozenset(
    """
    a an the and or but if of to in on at by for from with without as is are was were be been being am it its this that
    these those there here i you he she we they me my your our their not no so than then too very just into onto over
    under about between within also only any some each other such same own s t up still all every always already
    much many really quite isn aren wasn weren doesn don didn won wouldn couldn shouldn haven hasn hadn ain ll
    ve re im ive dont doesnt cant
    """.split()
)
ASKING_ENGLISH = frozenset(
    """
    how what why when where which who whom whose do does did doing done can could should would will shall may might
    must have has had having explain tell show give please want need know let me us mean means meaning way ways thing
    things work works working about more detail details example examples again ok okay hi hello hey thanks get got vs
    versus
    """.split()
)
ASKING_KOREAN = frozenset(
    """
    법 것 거 게 걸 건 수 때 좀 더 잘 안 못 꼭 참 줘 점 중 및 등 또 또는 혹은 저 제 나 내 그 이
    하나 하는 하면 하고 해요 해 하려면 되려면 써야 써도 쓰나 쓰나요 쓰는 쓰는지 쓰면 쓰려면 쓸까 사용 하죠 하네요
    수도 수가 돼 되죠 되네요 되는 된다 알아서 자꾸 계속 혹시 일단 그냥 아예 매번 항상 전부 모두 같이
    대신 이미 아직 먼저 바로 너무 많이 조금 매우 아주 정말 진짜 꽤 훨씬
    """.split()
)
ASKING_KOREAN_STARTS = tuple(
    """
    어떻 어떤 어떠 무엇 무슨 뭐 뭔 뭘 왜 언제 어디 어느 누가 누구 얼마 몇 알려 보여 설명 가르쳐 궁금 방법 대해 대한 관해
    관한 관하여 있나 있는 있을 있어 있습 인가 하나요 할까 되나 될까 그럼 그러면 그리고 그런 그건 그거 그것 그게 이건
    이거 이것 이게 이걸 그걸 그렇 이렇 됩니 돼요 되나 되는지 않 싶
    저는 제가 나는 내가 부탁 주세 주실 해줘 해주 싶어 싶은 싶습 때문 경우 안녕 정도 이유 의미 가요
    건가 걸까 자세 구체적 간단 쉽게 다시 예시 예제 사용법 사용하 사용할 사용해
    """.split()
)
# What makes a question a follow-up: it speaks of what was said before, or goes on from there.
POINTING_BACK = frozenset(
    """
    it its that those them they this these one ones former latter same above
    그거 그것 그게 그걸 그것은 그것을 그거는 그건 이거 이것 이게 이걸 이것은 이것을 이건 그중
    그중에 거기 거기서 둘 둘의 둘다 위의 방금 앞의
    """.split()
)
CONNECTING = frozenset(
    "and then so but also instead 그럼 그러면 그리고 그런데 근데 그래서 반대로 혹시 그렇다면".split()
)
HELLO = frozenset(
    "안녕 안녕하세요 안녕하십니까 반가워 반가워요 반갑습니다 하이 헬로 헬로우 hello hi hey hellothere hithere heythere "
    "goodmorning goodafternoon goodevening howareyou ㅎㅇ 하이요 안뇽 "
    # Who asks what this is gets told so.
    "whoareyou whatareyou whatcanyoudo help 넌누구야 너는누구야 누구세요 뭐할수있어 뭘할수있어 무엇을할수있나요 "
    "도움말".split()
)
THANKS = frozenset(
    "고마워 고마워요 고맙습니다 감사 감사해요 감사합니다 땡큐 thanks thankyou thankyousomuch thankyouverymuch thx ty "
    "thanksalot".split()
)
